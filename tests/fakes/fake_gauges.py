"""Gauges that show what a test sets, and an inhibitor that remembers.

DIAGNOSTICS
    None.
"""

from collections import deque

from batchd.core.readings import Reading


class FakeGauges:
    """The port `Gauges`. `shown` is the last answer, and what comes next, again and again; None: it hangs."""

    def __init__(self, shown: Reading | None = None) -> None:
        self.shown: Reading | None = shown or Reading()
        self.looks = 0
        self._coming: deque[Reading] = deque()

    def play(self, *readings: Reading) -> None:
        """These come first, one at a look; the last one stays."""
        self._coming = deque(readings)

    async def read(self, timeout_s: float) -> Reading | None:
        assert timeout_s > 0
        self.looks += 1
        if self._coming:
            self.shown = self._coming.popleft()
        return self.shown


class FakeInhibitor:
    """The port `SleepInhibitor`."""

    def __init__(self) -> None:
        self.is_held = False
        self.told: list[str] = []  # each change

    async def hold(self) -> None:
        if not self.is_held:
            self.told.append("hold")
        self.is_held = True

    async def release(self) -> None:
        if self.is_held:
            self.told.append("release")
        self.is_held = False
