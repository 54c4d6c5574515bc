"""An event loop in which time is only a number: when everybody waits, it jumps to the next moment.

SUMMARY
    run(main)       runs a coroutine to its end; hours pass in milliseconds
    VirtualClock    the port `Clock` over that time, with chance from a seed

    Threads are not waited for: what is given to one is done at once.

DIAGNOSTICS
    AssertionError: everybody waits, and nothing is due.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Jumper(selectors.SelectSelector):
    """Asked to wait, it moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nothing is due"
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above."""

    def __init__(self) -> None:
        self._jumper = _Jumper()
        super().__init__(self._jumper)

    def time(self) -> float:
        return self._jumper.now

    def run_in_executor(  # type: ignore[override]  # the base class spells its types otherwise
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> "asyncio.Future[_T]":
        done: asyncio.Future[_T] = self.create_future()
        done.set_result(func(*args))
        return done


class VirtualClock:
    """The port `Clock`."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)

    def now(self) -> float:
        return 1_800_000_000.0 + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)

    def random(self) -> float:
        return self._random.random()


def run(main: Coroutine[Any, Any, _T]) -> _T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
