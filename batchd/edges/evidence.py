"""Evidence: the files of a spool, read by somebody who changes nothing.

SUMMARY
    Lists the rooms, opens plain files, and says whether a batchd holds the spool. No link is followed, and
    nothing is locked, made, renamed or deleted: a daemon may be at work beside it, and a listing is old as
    soon as it is made. What has gone meanwhile is an empty listing, or no file.

DIAGNOSTICS
    Fatal: ConfigError where there is no spool, or this user may not look into it; SpoolError when a directory
    cannot be listed. An OSError of a file that is open passes through.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchd.core.audit.places import Kind
from batchd.core.flocks import flocks_of, lock_id
from batchd.errors import ConfigError, SpoolError

#: Result lines are some KB; one beyond this is no line of batchd's, and is read in parts.
LINE_BYTES_MAX = 256 * 1024**2

#: Status, metrics and batch.json are a megabyte at most.
CONTENT_BYTES_MAX = 64 * 1024**2

_BLOCK_BYTES = 2**20

#: Anybody may lock files of his own: some 200,000 locks are looked through.
_LOCKS_CHARS_MAX = 16 << 20

#: Without these a directory is no spool; batchd makes them all at its first start.
_ROOMS = ("inbox", "processing", "archive", "partial")

#: `batchd run` keeps its spool in the directory of its results, under this name.
_INNER_SPOOL = ".spool"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One spool. `outbox` may lie elsewhere; then what else is there is not batchd's."""

    root: Path
    outbox: Path

    @classmethod
    def open(cls, spool: Path, outbox: Path | None = None) -> "Evidence":
        """ConfigError when there is no spool."""
        root = spool.absolute()
        try:
            lacking = [name for name in _ROOMS if not (root / name).is_dir()]
        except PermissionError as error:
            raise ConfigError(
                f"{str(root)!a} may not be looked into: {error.strerror}.",
                "Run it as the user of batchd, or as root.",
            ) from error
        if lacking:
            raise ConfigError(
                f"{str(root)!a} is no spool: it has no {lacking[0]}/.",
                "Name the spool of a daemon, or of `batchd run`, with --spool.",
            )
        if outbox is None:
            is_inner = root.name == _INNER_SPOOL and not (root / "outbox").is_dir()
            outbox = root.parent if is_inner else root / "outbox"
        return cls(root, outbox.absolute())

    @property
    def owns_outbox(self) -> bool:
        """Whether only batchd puts things into the outbox."""
        return self.outbox == self.root / "outbox"

    def listing(self, place: Path) -> dict[str, Kind]:
        """What stands in this directory; empty when it is none, or gone."""
        try:
            with os.scandir(place) as entries:
                return {entry.name: _kind(entry) for entry in sorted(entries, key=lambda entry: entry.name)}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError as error:
            raise ConfigError(
                f"{str(place)!a} may not be looked into: {error.strerror}.",
                "Run it as the user of batchd, or as root.",
            ) from error
        except OSError as error:
            raise SpoolError(
                f"{str(place)!a} cannot be listed: {error.strerror}.", "Look at the disk."
            ) from error

    def kind(self, path: Path) -> Kind | None:
        """What stands under this one name; None when nothing does."""
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SpoolError(
                f"{str(path)!a} cannot be looked at: {error.strerror}.", "Look at the disk."
            ) from error
        if stat.S_ISLNK(mode):
            return Kind.LINK
        if stat.S_ISDIR(mode):
            return Kind.DIRECTORY
        return Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER

    def opened(self, path: Path) -> BinaryIO:
        """A plain file, for reading; the caller closes it. OSError for anything else."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(0, "it is not a plain file", os.fspath(path))
        return os.fdopen(descriptor, "rb", buffering=_BLOCK_BYTES)

    def lines(self, path: Path, size_bytes: int | None = None) -> Iterator[bytes]:
        """Each line with its newline; of the first so many bytes, where a size is given."""
        left = sys.maxsize if size_bytes is None else size_bytes
        with self.opened(path) as file:
            while left and (line := file.readline(min(left, LINE_BYTES_MAX))):
                left -= len(line)
                yield line

    def blocks(self, path: Path) -> Iterator[bytes]:
        """The whole file, piece by piece."""
        with self.opened(path) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def content(self, path: Path) -> bytes | None:
        """A small file; None when it is not there. OSError for one that is not small."""
        try:
            with self.opened(path) as file:
                content = file.read(CONTENT_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        if len(content) > CONTENT_BYTES_MAX:
            raise OSError(errno.EFBIG, f"it is larger than {CONTENT_BYTES_MAX >> 20} MiB", os.fspath(path))
        return content

    def size(self, path: Path) -> int | None:
        """None when it is not there."""
        try:
            return path.lstat().st_size
        except FileNotFoundError:
            return None

    def is_held(self) -> bool:
        """Whether a process that we can see holds the spool's lock. Asking for the lock would take it."""
        try:
            fd = os.open(self.root / "lock", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
                fdinfo = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
                name = lock_id(mountinfo, fdinfo, os.fstat(fd).st_ino)
            finally:
                os.close(fd)
            with Path("/proc/locks").open(encoding="ascii", errors="replace") as file:
                return bool(flocks_of([name], file.read(_LOCKS_CHARS_MAX)))
        except OSError:
            return False


def _kind(entry: "os.DirEntry[str]") -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    return Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER
