"""What people see and say while a batch runs: partial/, status.json and control/.

SUMMARY
    None of it is the truth, so none of it is synced: after a power cut the journal has every answer, the next
    status is written within seconds, and a control stays until it took effect.

DIAGNOSTICS
    Fatal: OSError, which the spool translates. After one, the file is opened anew and its torn end is cut.
"""

import collections
import contextlib
import heapq
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from batchd import failpoints
from batchd.core.options import is_batch_id
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.edges.spool.processing import checked_id
from batchd.errors import SpoolError

#: Open partial files: more batches than this do not answer at the same time; the oldest is closed.
_OPEN_MAX = 32

#: How much is read at a time when the last newline is looked for, backwards.
_TAIL_BYTES = 2**16

#: Controls listed in one call: the younger ones wait for a later one.
_CONTROLS_MAX = 1000

#: Some hundred user ids.
_TURNS_BYTES_MAX = 8_192

_VERBS = frozenset({"cancel", "pause", "resume"})


@dataclass(frozen=True, slots=True)
class Board:
    """Writes what is shown, reads what is told."""

    layout: Layout
    _open: "collections.OrderedDict[str, int]" = field(default_factory=collections.OrderedDict)

    def append_partial(self, batch_id: str, lines: bytes) -> None:
        """One write call, so that a reader sees whole lines."""
        fd = self._open.get(batch_id)
        if fd is None:
            fd = self._opened(batch_id)
        end = os.fstat(fd).st_size
        try:
            disk.write_all(fd, lines)
        except OSError:
            with contextlib.suppress(OSError):  # whoever tries again shall not find half of it there
                os.ftruncate(fd, end)
            self._close(batch_id)
            raise

    def remove_partial(self, batch_id: str) -> None:
        """The batch is published, or gone."""
        self._close(batch_id)
        disk.remove_file(f"{checked_id(batch_id)}.jsonl", self.layout.partial)

    def write_status(self, content: bytes) -> None:
        """A reader sees the old one or the new one."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(".status.json", flags, self.layout.file_mode, dir_fd=self.layout.root)
        try:
            disk.write_all(fd, content)
        finally:
            os.close(fd)
        # Not synced: it is a view, and a stale or empty one after a power cut is replaced at the next start.
        failpoints.reach("status.written")
        os.replace(".status.json", "status.json", src_dir_fd=self.layout.root, dst_dir_fd=self.layout.root)
        failpoints.reach("status.done")

    def turns(self) -> bytes:
        """What was kept, of a plain file of ours; anything else is nothing."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open("turns", flags, dir_fd=self.layout.root)
        except OSError:
            return b""
        try:
            return os.read(fd, _TURNS_BYTES_MAX) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)

    def keep_turns(self, content: bytes) -> None:
        """In place: a torn one is none, and costs somebody a turn."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open("turns", flags, 0o600, dir_fd=self.layout.root)
        try:
            disk.write_all(fd, content)
        finally:
            os.close(fd)

    def control_at(self, batch_id: str, verb: str) -> float | None:
        """A link counts, for what it points to is never looked at; a directory does not."""
        try:
            found = os.stat(_control_name(batch_id, verb), dir_fd=self.layout.control, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_ctime

    def remove_control(self, batch_id: str, verb: str) -> bool:
        """It took effect, or never will."""
        return disk.remove_file(_control_name(batch_id, verb), self.layout.control)

    def controls(self, now: float) -> list[tuple[str, str, float]]:
        """The oldest, by the time of their change, which nobody can set back."""
        with os.scandir(self.layout.control) as entries:
            found = heapq.nsmallest(_CONTROLS_MAX, _given(entries))
        return [(batch_id, verb, now - given_at) for given_at, batch_id, verb in found]

    def close(self) -> None:
        """Close what is open."""
        for batch_id in list(self._open):
            self._close(batch_id)

    def _opened(self, batch_id: str) -> int:
        if len(self._open) >= _OPEN_MAX:
            self._close(next(iter(self._open)))
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = self.layout.file_mode
        fd = os.open(f"{checked_id(batch_id)}.jsonl", flags, mode, dir_fd=self.layout.partial)
        try:
            disk.grant(fd, mode)
            _cut_torn_line(fd)
        except OSError:
            os.close(fd)
            raise
        self._open[batch_id] = fd
        return fd

    def _close(self, batch_id: str) -> None:
        fd = self._open.pop(batch_id, None)
        if fd is not None:
            os.close(fd)


def _control_name(batch_id: str, verb: str) -> str:
    if verb not in _VERBS:
        raise SpoolError(f"{verb!a} is no control.")
    return f"{checked_id(batch_id)}.{verb}"


def _given(entries: Iterable["os.DirEntry[str]"]) -> Iterator[tuple[float, str, str]]:
    for entry in entries:
        batch_id, _, verb = entry.name.partition(".")
        if verb in _VERBS and is_batch_id(batch_id) and not entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):  # its owner took it back
                yield entry.stat(follow_symlinks=False).st_ctime, batch_id, verb


def _cut_torn_line(fd: int) -> None:
    """Cut what a killed daemon or a full disk left behind the last newline."""
    size_bytes = end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size_bytes:
        os.ftruncate(fd, end)
