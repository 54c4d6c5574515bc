"""Appetite: whether the batch at work takes so much that it alone stops everybody.

SUMMARY
    `look`, once a second. A batch whose journal reaches the end of its map, or that took several times what
    was promised to it and without which the disk would not be short, ends early: what is answered is
    published, the rest gets error lines, and the others go on. A disk that others filled ends nobody.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
    Warning: a batch that ends so.
"""

from batchd.app.blocking import to_its_end
from batchd.app.desk import Desk
from batchd.core.space import Space
from batchd.daemon.ports import Spool
from batchd.edges import log


class Appetite:
    """Looks at one batch at a time."""

    def __init__(self, spool: Spool, space: Space) -> None:
        self._spool = spool
        self._space = space

    def __repr__(self) -> str:
        return f"Appetite({self._space})"

    async def look(self, desk: Desk | None) -> None:
        """End it early where that helps the others."""
        acceptance = None if desk is None else desk.acceptance
        if desk is None or acceptance is None or desk.batch.closing is not None:
            return
        batch = desk.batch
        is_outgrown = batch.journal.is_nearly_full()
        if not is_outgrown and self._space.is_short:
            taken_bytes = await to_its_end(self._spool.batch_bytes, batch.id)
            is_outgrown = self._space.is_outgrown(taken_bytes, acceptance.size_bytes, acceptance.total)
        if is_outgrown and desk.outgrow():
            words = "took more than there is for it, and ends with what is answered"
            log.note("WARNING", "outgrown", f"{batch.id} {words}", batch_id=batch.id)
