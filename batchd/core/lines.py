"""Lines: a batch file, cut into its request lines with bounded memory.

SUMMARY
    `Lines` reads a binary file given to it and yields one `Line` for each line that is not blank. Intake and
    `batchd check` both read through it, so that both count, cut and name the same lines.

    - A line ends with a newline byte and nothing else; a carriage return before it is not part of the line.
    - A byte-order mark at the start of the file is not part of line 1.
    - A blank line is skipped, and still counts for the numbers of those after it.
    - The last line counts without its newline too; that it was missing is said.
    - A line over the limit is read past and never held; it comes out with `raw` None.

    What was unusual is in `notes()`, as sentences for the log, the results and the screen.

DIAGNOSTICS
    None raised here; an OSError of the reader passes through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from batchd.core.fault import LineFault

_BOM = b"\xef\xbb\xbf"

#: How much of a line over the limit is in memory at one time while it is read past.
_SKIP_BYTES = 1 << 16

#: A byte-order mark before the line and CR LF behind it do not count for the limit.
_MARGIN_BYTES = len(_BOM) + 2


class Reader(Protocol):
    """The part of a binary file that is used here."""

    def readline(self, size: int, /) -> bytes:
        """At most `size` bytes, up to and with the next newline; empty at the end of the file."""


@dataclass(slots=True)  # not frozen: a million are made, and freezing triples the cost of making one
class Line:
    """One line: its number from 1, where `raw` begins in the file, its length, and its bytes.

    `raw` is None for a line over the limit; `length_bytes` counts it nevertheless.
    """

    number: int
    offset: int
    length_bytes: int
    raw: bytes | None


class Lines:
    """One pass over a batch file."""

    def __init__(self, reader: Reader, line_bytes_max: int) -> None:
        self._reader = reader
        self._line_bytes_max = line_bytes_max
        self.read_bytes = 0
        self.line_count = 0  # blank ones too
        self.blank_count = 0
        self.crlf_count = 0
        self.too_long_count = 0
        self.has_bom = False
        self.lacks_final_newline = False

    def __repr__(self) -> str:
        return f"<Lines {self.line_count} lines, {self.read_bytes} bytes read>"

    def __iter__(self) -> Iterator[Line]:
        readline = self._reader.readline
        size = self._line_bytes_max + _MARGIN_BYTES
        while piece := readline(size):
            offset = self.read_bytes
            self.line_count += 1
            self.read_bytes += len(piece)
            if piece[-1] == 0x0A:
                line = self._cut(piece, offset)
            elif len(piece) < size:
                self.lacks_final_newline = True
                line = self._cut(piece, offset)
            else:
                line = self._pass_over(piece, offset)
            if line.length_bytes == 0:
                self.blank_count += 1
            else:
                yield line

    def notes(self) -> tuple[str, ...]:
        """What was unusual so far, one sentence each."""
        found = (
            (self.has_bom, "The file begins with a byte-order mark, which was ignored."),
            (self.crlf_count > 0, f"Lines that end with CR LF: {self.crlf_count}; the CR was ignored."),
            (self.blank_count > 0, f"Blank lines: {self.blank_count}; they were skipped."),
            (
                self.lacks_final_newline,
                "The last line has no newline; if the file was cut off, hand it in again.",
            ),
        )
        return tuple(sentence for is_so, sentence in found if is_so)

    def _cut(self, piece: bytes, offset: int) -> Line:
        """The line without its mark and its ending; without any bytes when it is blank."""
        start, end = self._skip_bom(piece), len(piece)
        if piece[-1] == 0x0A:
            end -= 1
            if piece.endswith(b"\r\n"):
                end -= 1
                self.crlf_count += 1
        raw = piece[start:end]
        if len(raw) > self._line_bytes_max:
            return self._too_long(offset + start, len(raw))
        if raw.isspace():
            raw = b""
        return Line(self.line_count, offset + start, len(raw), raw)

    def _pass_over(self, piece: bytes, offset: int) -> Line:
        """A line that did not end within the limit: find its end, keep nothing of it."""
        start = self._skip_bom(piece)
        before = piece
        while piece[-1] != 0x0A and (more := self._reader.readline(_SKIP_BYTES)):
            self.read_bytes += len(more)
            before, piece = piece, more
        length = self.read_bytes - offset - start
        if piece[-1] == 0x0A:
            length -= 1
            if (before[-1:] + piece).endswith(b"\r\n"):
                length -= 1
                self.crlf_count += 1
        else:
            self.lacks_final_newline = True
        return self._too_long(offset + start, length)

    def _skip_bom(self, piece: bytes) -> int:
        if self.line_count > 1 or not piece.startswith(_BOM):
            return 0
        self.has_bom = True
        return len(_BOM)

    def _too_long(self, offset: int, length_bytes: int) -> Line:
        self.too_long_count += 1
        return Line(self.line_count, offset, length_bytes, None)


def too_long_fault(line: Line, line_bytes_max: int) -> LineFault:
    """The error line of a line over the limit; its custom_id is not read."""
    return LineFault(
        line.number,
        "line_too_long",
        f"This line has {line.length_bytes} bytes; the limit is {line_bytes_max} (line_bytes_max).",
    )
