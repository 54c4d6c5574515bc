"""Patience: a step that needs room on the disk, taken when there is some.

DIAGNOSTICS
    Fatal: whatever the step raises, but NoSpaceError.
"""

from collections.abc import Callable
from typing import TypeVar

from batchd.app.blocking import to_its_end
from batchd.core.waiting import PAUSE_FIRST_S, PAUSE_LAST_S
from batchd.daemon.ports import Clock
from batchd.errors import NoSpaceError

_T = TypeVar("_T")


class Patience:
    """`on_full` is told of each full disk; `is_stopped` ends the waiting."""

    def __init__(self, clock: Clock, on_full: Callable[[], None], is_stopped: Callable[[], bool]) -> None:
        self._clock = clock
        self._on_full = on_full
        self._is_stopped = is_stopped

    async def take(self, step: Callable[[], _T]) -> _T | None:
        """This blocking step, again and again while the disk is full; None when we are stopped first."""
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return await to_its_end(step)
            except NoSpaceError:
                self._on_full()
            left_s = pause_s
            while left_s > 0:
                if self._is_stopped():
                    return None
                await self._clock.sleep(PAUSE_FIRST_S)
                left_s -= PAUSE_FIRST_S
            pause_s = min(2 * pause_s, PAUSE_LAST_S)
