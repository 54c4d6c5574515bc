"""The log: one line for each event, fit for the place where it is read.

SUMMARY
    Under systemd a line is plain and begins with `<N>`, from which the journal takes the priority; it knows
    the time itself. On a terminal the level is coloured; elsewhere it is a word.

    Every line passes through `printable`: what a file name or a model's text holds can neither forge an entry
    nor drive the terminal. loguru's `diagnose` stays off: it prints the values of variables, which are
    prompts. Lines are written at once, by who logs, so that none is lost in a queue when we die.

DIAGNOSTICS
    Warning: a stream that refuses a line loses this line, nothing else.
"""

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from batchd.core.text import printable

if TYPE_CHECKING:
    from loguru import Message, Record

#: loguru's levels and syslog's priorities (sd-daemon(3)).
_PRIORITIES = {"TRACE": 7, "DEBUG": 7, "INFO": 6, "SUCCESS": 5, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m", "SUCCESS": "\x1b[32m"}
_PLAIN = "\x1b[0m"

#: journald cuts a line at 48 KiB; one that long is no use to anybody.
_LINE_CHARS_MAX = 8_000


def is_journal(journal_stream: str | None, stream: TextIO) -> bool:
    """Whether this stream is the one that systemd connected to its journal (`JOURNAL_STREAM`: dev:inode)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def configure(level: str, stream: TextIO, journal: bool) -> None:
    """Send everything from `level` on to this stream, and nowhere else."""
    logger.remove()
    logger.add(
        _Lines(stream, journal).write,
        level=level,
        format="{message}",
        colorize=False,
        diagnose=False,
        backtrace=False,
        enqueue=False,
    )


class _Lines:
    """Writes a record as one line, and its exception, if any, as one line for each of the traceback's."""

    def __init__(self, stream: TextIO, journal: bool) -> None:
        self._stream = stream
        self._journal = journal
        self._coloured = not journal and stream.isatty()

    def write(self, message: "Message") -> None:
        record = message.record
        lines = [record["message"], *_traceback_lines(record)]
        head = self._head(record)
        text = "".join(f"{head}{printable(line)[:_LINE_CHARS_MAX]}\n" for line in lines)
        encoding = self._stream.encoding or "utf-8"
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()

    def _head(self, record: "Record") -> str:
        level = record["level"].name
        if self._journal:
            return f"<{_PRIORITIES.get(level, 6)}>"
        colour = _COLOURS.get(level, "") if self._coloured else ""
        return f"{record['time']:HH:mm:ss} {colour}{level.lower():<8}{_PLAIN if colour else ''} "


def _traceback_lines(record: "Record") -> list[str]:
    caught = record["exception"]
    if caught is None or caught.type is None:
        return []
    text = "".join(traceback.format_exception(caught.type, caught.value, caught.traceback))
    return text.splitlines()
