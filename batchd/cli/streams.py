"""Streams: standard input, output and error as the shell left them, be they closed, full or a broken pipe.

SUMMARY
    `batchd check FILE | head -1` closes the pipe, `>&-` closes the output, a log's disk fills up. None of
    these says anything about the batch, so none changes the exit code: what cannot be written is dropped, and
    said once where somebody may still read it.

    `mend_streams` runs first. A closed descriptor 0 to 2 becomes /dev/null: else the next file that is
    opened, a journal perhaps, would get its number, and what a library prints would go into it.

DIAGNOSTICS
    Warning: `Standard output took no more`, at the end. A reader that went away on purpose is not told.
"""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

#: A reader that leaves takes what it wants; that is how `head` works.
_READER_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})

#: A pipe that another program set to non-blocking is waited for, in steps that a signal may end.
_WAIT_MS = 1_000


class Enduring(io.FileIO):
    """The raw end of a standard stream. After the first refusal it takes everything and writes nothing."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.refused: OSError | None = None

    def write(self, content: "memoryview | bytes", /) -> int:  # type: ignore[override]
        rest = memoryview(content).cast("B")
        size = rest.nbytes
        while rest.nbytes and self.refused is None:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self.fileno(), select.POLLOUT)
                poll.poll(_WAIT_MS)
            except OSError as error:
                self.refused = error
        return size


def mend_streams() -> None:
    """Make the three standard streams fit for use, whatever they are."""
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            _fill(descriptor, flags)
    # Who put another stream in their place knows what it does.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _enduring(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _enduring(2, sys.stderr)


def what_was_refused() -> str:
    """Why standard output took no more; empty where it took all, or where its reader just left."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, Enduring) or raw.refused is None or raw.refused.errno in _READER_GONE:
        return ""
    return raw.refused.strerror or str(raw.refused)


def _fill(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)


def _enduring(descriptor: int, before: TextIO | None) -> io.TextIOWrapper:
    """As Python would have made it, over a raw end that endures. What it cannot encode becomes an escape."""
    raw = Enduring(descriptor)
    encoding = getattr(before, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(raw)  # type: ignore[type-var]
    return io.TextIOWrapper(
        buffered, encoding=encoding, errors="backslashreplace", line_buffering=descriptor == 2 or raw.isatty()
    )
