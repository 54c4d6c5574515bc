"""Lines: the request lines of one batch, read again to be sent, or closed without.

SUMMARY
    read     a line of our own copy, as a request
    fetch    a line that left the plan's order, with its intent durable
    rows     where lines stand, for those that are closed in blocks

DIAGNOSTICS
    Fatal: SpoolError for a line of our copy whose CRC is wrong; JournalError.
"""

import asyncio
import zlib
from collections.abc import Sequence

from batchd.core.fault import LineFault
from batchd.core.record import LineRow
from batchd.core.request import LineLimits, Request, parse_line
from batchd.core.rules import Rules
from batchd.daemon.ports import Batch
from batchd.daemon.stock import Item
from batchd.errors import SpoolError

#: Lines that are closed without an answer are read in blocks of this many.
CLOSE_BLOCK_LINES = 256


class Lines:
    """The lines of one batch."""

    def __init__(self, batch: Batch, rules: Rules) -> None:
        self._batch = batch
        self._rules = rules

    def read(self, row: LineRow) -> Request | LineFault:
        """What stands there."""
        self._batch.input.seek(row.offset)
        raw = self._batch.input.read(row.length)
        if zlib.crc32(raw) != row.crc:
            raise SpoolError(
                f"Line {row.number} of {self._batch.id} is not what intake read.",
                "The disk damaged processing/; move the batch's directory aside and hand the file in again.",
            )
        # What was accepted stays accepted, also where the operator has lowered the limit since.
        limits = LineLimits(row.length, self._rules.completion_tokens_default)
        return parse_line(raw, row.number, limits, None)

    async def fetch(self, index: int) -> Item:
        """Ready to be sent."""
        rows = await asyncio.to_thread(self._batch.journal.read_lines, [index])
        await self._batch.journal.intend([index])
        return Item(index, rows[0])

    async def rows(self, indices: Sequence[int]) -> list[LineRow]:
        """Where they stand."""
        return await asyncio.to_thread(self._batch.journal.read_lines, list(indices))
