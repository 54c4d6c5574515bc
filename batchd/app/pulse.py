"""Pulse: does every journal that has something to write move?

SUMMARY
    The watchdog is fed from the event loop, which says nothing about the threads that write the journals: one
    that hangs in the kernel would leave a daemon that looks alive and makes nothing durable. So systemd gets
    its ping only when each of them took a step since the last look, or has nothing to do. A failed commit
    that is tried again is a step: a full disk is waited for.

DIAGNOSTICS
    Warning: a journal that stands still, once.
"""

from collections.abc import Callable, Mapping

from batchd.daemon.ports import Batch
from batchd.edges import log

#: Looks, one a second, before it is said: longer than a slow commit, and the pause after a failed one (5 s).
STILL_LOOKS = 7


class Pulse:
    """Remembers what it saw at the last look."""

    def __init__(self, held: Callable[[], Mapping[str, Batch]]) -> None:
        self._held = held
        self._seen: dict[str, int] = {}
        self._still: dict[str, int] = {}  # looks in a row

    def moves(self) -> bool:
        """Whether all of them moved since the last call."""
        pulses = {batch_id: batch.journal.pulse for batch_id, batch in self._held().items()}
        busy = {batch_id: pulse for batch_id, pulse in pulses.items() if pulse is not None}
        still = [batch_id for batch_id, pulse in busy.items() if self._seen.get(batch_id) == pulse]
        self._seen = busy
        self._still = {batch_id: self._still.get(batch_id, 0) + 1 for batch_id in still}
        for batch_id, looks in self._still.items():
            if looks == STILL_LOOKS:
                text = f"{batch_id}: the journal stands still; until it moves the watchdog is not fed"
                log.note("WARNING", "journal_stands", text, batch_id=batch_id)
        return not still
