"""Ending: the pending lines of a section get the same error line.

SUMMARY
    For a batch that was cancelled or expired, and for a model that cannot be had.

DIAGNOSTICS
    Fatal: JournalError, SpoolError.
"""

import asyncio

from batchd.core.fault import LineFault, ModelFault
from batchd.core.retry import Decision, Next
from batchd.daemon.fuse import Fuse
from batchd.daemon.ledger import Failure
from batchd.daemon.lines import CLOSE_BLOCK_LINES, Lines
from batchd.daemon.section import Section


async def close(section: Section, fault: ModelFault, lines: Lines, ledger: Fuse) -> None:
    """Every pending line of the section ends with this fault."""
    pending = await asyncio.to_thread(section.indices)
    for start in range(0, len(pending), CLOSE_BLOCK_LINES):
        block = pending[start : start + CLOSE_BLOCK_LINES]
        for index, (row, name) in zip(block, await lines.names(block), strict=True):
            attempts, crashes = section.counts.get(index, (0, 0))
            section.finished[index] = 1
            await ledger.room()
            if isinstance(name, LineFault):
                ledger.refused(index, name)
                continue
            decision = Decision(Next.GIVE_UP, attempts, crashes)
            ledger.ended(Failure(index, row.number, name, fault, decision))
    await ledger.drain()
