"""Lines: the request lines of one batch, read again to be sent, or closed without.

SUMMARY
    read     a line of our own copy, as a request; blocking
    fetch    a line that left the plan's order, with its intent durable
    names    what lines are called, for those that are closed in blocks

    The disk may be slow, and a line be long: nothing is read on the event loop.

DIAGNOSTICS
    Fatal: SpoolError for a line of our copy whose CRC is wrong; JournalError.
"""

import asyncio
import threading
import zlib
from collections.abc import Sequence

from batchd.core.fault import LineFault
from batchd.core.record import LineRow
from batchd.core.request import LineLimits, Request, parse_line
from batchd.core.rules import Rules
from batchd.daemon.ports import Batch
from batchd.daemon.stock import Item, Ready, made_ready
from batchd.errors import SpoolError

#: Lines that are closed without an answer are read in blocks of this many.
CLOSE_BLOCK_LINES = 256


class Lines:
    """The lines of one batch."""

    def __init__(self, batch: Batch, rules: Rules) -> None:
        self._batch = batch
        self._rules = rules
        self._reading = threading.Lock()  # the file has one position

    def read(self, row: LineRow) -> Request | LineFault:
        """What stands there."""
        with self._reading:
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

        def ready() -> Ready:
            [row] = self._batch.journal.read_lines([index])
            return made_ready(row, self.read)

        line = await asyncio.to_thread(ready)
        await self._batch.journal.intend([index])
        return Item(index, line)

    async def read_item(self, item: Item) -> Request | LineFault:
        """What stands there, where it was not read before."""
        known = item.ready.request
        return await asyncio.to_thread(self.read, item.row) if known is None else known

    async def names(self, indices: Sequence[int]) -> list[tuple[LineRow, str | LineFault]]:
        """Where they stand, and their custom_ids. One line is in memory at a time."""

        def named(row: LineRow) -> tuple[LineRow, str | LineFault]:
            request = self.read(row)
            return row, request if isinstance(request, LineFault) else request.custom_id

        def all_named() -> list[tuple[LineRow, str | LineFault]]:
            return list(map(named, self._batch.journal.read_lines(indices)))

        return await asyncio.to_thread(all_named)
