"""Chores: what the house tidies up now and then.

SUMMARY
    Litter in the inbox once, at the start; controls that can have no effect any more, every minute; originals
    that were kept long enough, every hour. It may take long, so it is a task of its own: neither the status
    nor the watchdog waits for it, and a stop ends it after the original that is being deleted.

DIAGNOSTICS
    Fatal: SpoolError.
"""

from collections.abc import Callable

from batchd.app.blocking import to_its_end
from batchd.daemon.controls import Controls
from batchd.daemon.ports import Clock, Spool

ARCHIVE_CHECK_S = 3_600.0
CONTROLS_CHECK_S = 60.0

#: Between two looks at what is due.
CHORES_S = 1.0


class Chores:
    """Knows what is due."""

    def __init__(self, spool: Spool, controls: Controls, clock: Clock) -> None:
        self._spool = spool
        self._controls = controls
        self._clock = clock
        self._archive_at = self._controls_at = 0.0

    async def begin(self) -> None:
        """Once."""
        await to_its_end(self._spool.remove_litter, self._clock.now())

    async def run(self, archive_days: Callable[[], float], is_wanted: Callable[[], bool]) -> None:
        """Until cancelled."""
        while True:
            await self.tick(archive_days(), is_wanted)
            await self._clock.sleep(CHORES_S)

    async def tick(self, archive_days: float, is_wanted: Callable[[], bool]) -> None:
        """Do what is due."""
        now = self._clock.monotonic()
        if now >= self._controls_at:
            self._controls_at = now + CONTROLS_CHECK_S
            await to_its_end(self._controls.expire)
        if now >= self._archive_at:
            self._archive_at = now + ARCHIVE_CHECK_S
            older_than_s = archive_days * 86_400.0
            await to_its_end(self._spool.expire_archive, older_than_s, self._clock.now(), is_wanted)
