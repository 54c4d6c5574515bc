"""Bulk: how many lines a batch file has, and whether it makes more of itself than its bytes are worth.

SUMMARY
    Counted while the file is copied, before anything else is made of it: a line of two bytes costs as much as
    a long one in the journal, in memory, and in the results. Blank lines count, for they are read too.

DIAGNOSTICS
    None: bytes in, a refusal out.
"""

from dataclasses import dataclass

from batchd.core.fault import Refusal
from batchd.core.space import in_units

#: Lines of a batch file, if the operator sets nothing: no night is long enough for more.
LINES_MAX = 5_000_000

#: What a line costs the journal at least, whatever it holds: its row, its id, its state, and an error line.
JOURNAL_LINE_BYTES = 512

#: Journal bytes for each byte of the file. The shortest line that is a request has 90 bytes, and makes six
#: times as much; four times more than that is made by lines that are no requests.
JOURNAL_FACTOR_MAX = 24

#: So many short lines are nobody's harm, and may be a person's mistake that wants its line numbers.
LINES_FREE = 100_000

_NEWLINE = b"\n"


@dataclass(slots=True)
class Bulk:
    """What was counted so far. `lines_max`: the operator's."""

    lines_max: int
    lines: int = 0
    size_bytes: int = 0
    _is_open: bool = False  # the last line has no newline yet

    def add(self, block: bytes) -> bool:
        """One more piece of the file. False: it has too many lines already, and the rest need not be read."""
        if block:
            self.lines += block.count(_NEWLINE)
            self.size_bytes += len(block)
            self._is_open = not block.endswith(_NEWLINE)
        return self.lines <= self.lines_max

    @property
    def line_count(self) -> int:
        """Lines, with one that lacks its newline."""
        return self.lines + self._is_open

    def refusal(self) -> Refusal | None:
        """Why the batch fails unread; None: it may be read."""
        if self.line_count > self.lines_max:
            return Refusal(
                "too_many_lines",
                f"The file has more than {self.lines_max:,} lines (lines_max): hand it in in parts.",
            )
        makes_bytes = self.line_count * JOURNAL_LINE_BYTES
        if self.line_count <= LINES_FREE or makes_bytes <= JOURNAL_FACTOR_MAX * self.size_bytes:
            return None
        return Refusal(
            "lines_too_short",
            f"The file has {self.line_count:,} lines in {in_units(self.size_bytes)}: most are too short to "
            f"be requests, and {in_units(makes_bytes)} of journal would come of them. Leave out the "
            "blank and broken lines.",
        )
