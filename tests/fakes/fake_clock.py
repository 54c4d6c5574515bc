"""A clock that stands still until a test moves it, or (`runs`) jumps to the end of each sleep by itself.

DIAGNOSTICS
    None.
"""

import asyncio
import heapq
import itertools

#: Turns of the event loop given to those who were woken, so that they reach their next wait.
TURNS_PER_WAKE = 10


class FakeClock:
    """The port `Clock`. `chance` is what `random` answers, over and over."""

    def __init__(
        self, now: float = 1_800_000_000.0, runs: bool = True, chance: tuple[float, ...] = (0.5,)
    ) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._runs = runs
        self._chance = itertools.cycle(chance)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def random(self) -> float:
        return next(self._chance)

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        due = self._monotonic + duration_s
        if self._runs:
            await asyncio.sleep(0)
            self._move_to(due)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._count), woken))
        await woken

    async def advance(self, duration_s: float) -> None:
        """Move on, waking each sleeper at its own moment."""
        end = self._monotonic + duration_s
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            self._move_to(due)
            if not woken.done():
                woken.set_result(None)
            for _ in range(TURNS_PER_WAKE):
                await asyncio.sleep(0)
        self._move_to(end)

    def pass_by(self, duration_s: float) -> None:
        """So much time has passed, and nobody waited for it."""
        self._move_to(self._monotonic + duration_s)

    def jump(self, duration_s: float) -> None:
        """Set the wall clock, forward or back, as a person does; monotonic time does not see it."""
        self._now += duration_s

    def _move_to(self, monotonic: float) -> None:
        step = max(0.0, monotonic - self._monotonic)
        self._monotonic += step
        self._now += step
