"""The log: one entry for each event, fit for the place where it is read.

SUMMARY
    Under systemd an entry goes to the journal in its own protocol, with fields to search by: EVENT, BATCH_ID,
    CUSTOM_ID and whatever else the record was bound with. Where the journal's socket is not to be had, a
    plain line begins with `<N>`, from which the journal takes the priority. On a terminal the level is
    coloured; elsewhere it is a word.

    Every text passes through `printable`: what a file name or a model's text holds can neither forge an entry
    nor drive the terminal. loguru's `diagnose` stays off: it prints the values of variables, which are
    prompts. Entries are written at once, by who logs, so that none is lost in a queue when we die.

    note    an entry for the app, which has no logger of its own

DIAGNOSTICS
    Warning: a stream that refuses a line loses this line, nothing else. A journal that does not read for a
    while loses entries; the next one that it takes says how many.
"""

import array
import contextlib
import errno
import fcntl
import os
import re
import socket
import traceback
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from batchd.core.text import printable

if TYPE_CHECKING:
    from loguru import Message, Record

#: Where journald listens (systemd.io, "Native Journal Protocol").
JOURNAL_SOCKET = "/run/systemd/journal/socket"

#: loguru's levels and syslog's priorities (sd-daemon(3)).
_PRIORITIES = {"TRACE": 7, "DEBUG": 7, "INFO": 6, "SUCCESS": 5, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m", "SUCCESS": "\x1b[32m"}
_PLAIN = "\x1b[0m"

#: journald cuts a line at 48 KiB; one that long is no use to anybody.
_LINE_CHARS_MAX = 8_000

#: The event loop logs too: a journal that is slower than this loses the entry.
_SEND_WAIT_S = 0.1

#: What journald takes as a name. Those that begin with an underscore are its own, and it drops them.
_FIELD_NAME = re.compile("[A-Z][A-Z0-9_]{0,63}")


def is_journal(journal_stream: str | None, stream: TextIO) -> bool:
    """Whether this stream is the one that systemd connected to its journal (`JOURNAL_STREAM`: dev:inode)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def configure(level: str, stream: TextIO, journal: bool, journal_socket: str | None = None) -> None:
    """Send everything from `level` on to this place, and nowhere else."""
    logger.remove()
    lines = _Lines(stream, journal)
    logger.add(
        _Entries(journal_socket, lines) if journal and journal_socket else lines,
        level=level,
        format="{message}",
        colorize=False,
        diagnose=False,
        backtrace=False,
        enqueue=False,
    )


def note(level: str, event: str, text: str, **fields: str) -> None:
    """One entry. `text` is shown as it is."""
    logger.bind(event=event, **fields).log(level, "{}", text)


class _Lines:
    """Writes a record as one line, and its exception, if any, as one line for each of the traceback's."""

    def __init__(self, stream: TextIO, journal: bool) -> None:
        self._stream = stream
        self._journal = journal
        self._coloured = not journal and stream.isatty()

    def write(self, message: "Message") -> None:
        head = self._head(message.record)
        text = "".join(f"{head}{line}\n" for line in _lines_of(message.record))
        encoding = self._stream.encoding or "utf-8"
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()

    def _head(self, record: "Record") -> str:
        if self._journal:
            return f"<{_priority(record)}>"
        level = record["level"].name
        colour = _COLOURS.get(level, "") if self._coloured else ""
        return f"{record['time']:HH:mm:ss} {colour}{level.lower():<8}{_PLAIN if colour else ''} "


class _Entries:
    """Writes a record as one entry of the journal; as lines where the journal's socket is gone."""

    def __init__(self, address: str, lines: _Lines) -> None:
        self._address = address
        self._lines = lines
        self._lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_SEND_WAIT_S)

    def write(self, message: "Message") -> None:
        try:
            self._send(_entry(message.record, self._lost))
        except TimeoutError:  # its stream would make us wait even longer
            self._lost += 1
        except OSError:
            self._lines.write(message)
        else:
            self._lost = 0

    def stop(self) -> None:
        """Called by loguru when another place is configured."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._address)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_sealed(entry)

    def _send_sealed(self, entry: bytes) -> None:
        """One that no datagram holds travels as a file in memory that nobody can change any more."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(fd, "wb") as file:
            file.write(entry)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            self._socket.sendmsg([], [rights], 0, self._address)


def _entry(record: "Record", lost: int) -> bytes:
    """The record in the journal's own protocol."""
    first, *trace = _lines_of(record)
    if lost:
        first = f"({lost} entries before this one were lost) {first}"
    fields = {
        # A line of a trace stays below the entry's first in every form that journalctl prints.
        "MESSAGE": "\n".join([first, *(f"    {line}" for line in trace)]),
        "PRIORITY": str(_priority(record)),
        "SYSLOG_IDENTIFIER": "batchd",
        "CODE_FILE": record["file"].path,
        "CODE_LINE": str(record["line"]),
        "CODE_FUNC": record["function"],
    }
    for name, value in record["extra"].items():
        if _FIELD_NAME.fullmatch(name.upper()):
            fields.setdefault(name.upper(), printable(str(value))[:_LINE_CHARS_MAX])
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: str) -> bytes:
    """A value with a newline carries its length, so that it cannot begin another field."""
    content = value.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode("ascii"), content)
    return b"%s\n%s%s\n" % (name.encode("ascii"), len(content).to_bytes(8, "little"), content)


def _priority(record: "Record") -> int:
    return _PRIORITIES.get(record["level"].name, 6)


def _lines_of(record: "Record") -> list[str]:
    """The message, then the lines of the traceback, if there is one; each fit for one line."""
    lines = [record["message"]]
    caught = record["exception"]
    if caught is not None and caught.type is not None:
        text = "".join(traceback.format_exception(caught.type, caught.value, caught.traceback))
        lines += text.splitlines()
    return [printable(line)[:_LINE_CHARS_MAX] for line in lines]
