"""Ending: the pending lines of a section get the same error line.

SUMMARY
    For a batch that was cancelled or expired, and for a model that cannot be had.

DIAGNOSTICS
    Fatal: JournalError, SpoolError.
"""

from batchd.core.fault import LineFault, ModelFault
from batchd.core.retry import Decision, Next
from batchd.daemon.fuse import Fuse
from batchd.daemon.ledger import Failure
from batchd.daemon.lines import CLOSE_BLOCK_LINES, Lines
from batchd.daemon.section import Section


async def close(section: Section, fault: ModelFault, lines: Lines, ledger: Fuse) -> None:
    """Every pending line of the section ends with this fault."""
    pending = section.indices()
    for start in range(0, len(pending), CLOSE_BLOCK_LINES):
        block = pending[start : start + CLOSE_BLOCK_LINES]
        for index, row in zip(block, await lines.rows(block), strict=True):
            attempts, crashes = section.counts.get(index, (0, 0))
            section.finished[index] = 1
            request = lines.read(row)
            await ledger.room()
            if isinstance(request, LineFault):
                ledger.refused(index, request)
                continue
            decision = Decision(Next.GIVE_UP, attempts, crashes)
            ledger.ended(Failure(index, row.number, request.custom_id, fault, decision))
    await ledger.drain()
