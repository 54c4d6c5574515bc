"""processing/: one directory for each batch at work.

SUMMARY
    What a directory holds is the batch's state (`core/lifecycle`). The original is read once, into a copy
    that nobody else can open, and never again: its owner can still reach the original's inode.

DIAGNOSTICS
    Fatal: OSError, which the spool translates.
    Warning: InputChangedError and NotUsableError concern one batch only.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from batchd import failpoints
from batchd.core.lifecycle import Place
from batchd.core.options import is_batch_id
from batchd.core.text import printable
from batchd.core.waiting import Original
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.errors import InputChangedError, NotUsableError, SpoolError

_TRASH = ".trash-"

#: What opening a link, an unreadable file or a socket answers; anything else is the disk's.
_SUBMITTERS_FAULT = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})

#: Enough to keep the disk busy, small against the resident limit of 150 MB.
_BLOCK_BYTES = 2**20

#: One batch file. 170,000 long requests are 1.5 GB; forty times that is a mistake or an attack.
INPUT_BYTES_MAX = 64 * 2**30

#: Enough lines of it to tell how many there are in all.
_HEAD_BYTES = 2**16

#: Our copy is read from start to end at intake: with Python's own 8 KiB that takes four times as long.
_READ_AHEAD_BYTES = 2**16

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOTHING = Place(has_original=False, has_copy=False, has_journal=False, has_publish=False)


@dataclass(frozen=True, slots=True)
class Processing:
    """Copies, and the life of a batch's directory."""

    layout: Layout
    input_bytes_max: int

    def has(self, batch_id: str) -> bool:
        """Whether a batch has this id, be it on its way out. A claim that did not happen is none."""
        processing = self.layout.processing
        if disk.has_name(_TRASH + checked_id(batch_id), processing):
            return True
        return disk.has_name(batch_id, processing) and not disk.is_unclaimed(batch_id, processing)

    def original_name(self, batch_id: str) -> bytes | None:
        """The one name in orig/ that is not the options file."""
        with self._opened(batch_id) as place:
            names = _original_names(place)
        if len(names) > 1:
            raise SpoolError(
                f"There are {len(names)} batch files in processing/{batch_id}/orig.",
                "Leave the one that belongs there, and start batchd again.",
            )
        return names[0] if names else None

    def original(self, batch_id: str) -> Original | None:
        """A look from outside: what it says may be wrong a moment later, and the copy proves it."""
        name = self.original_name(batch_id)
        if name is None:
            return None
        with self._opened(batch_id) as place, disk.opened_directory("orig", place) as orig:
            found = os.stat(name, dir_fd=orig, follow_symlinks=False)
            has_writer, lines = _looked_into(name, orig)
        signature = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return Original(name, found.st_uid, signature, has_writer, lines)

    def copy_input(self, batch_id: str, on_block: Callable[[bytes], bool]) -> tuple[str, int]:
        """One pass: read, count, hash, write. A copy that did not succeed is removed again."""
        name = self.original_name(batch_id)
        if name is None:
            raise SpoolError(f"There is no batch file in processing/{batch_id}/orig.")
        with self._opened(batch_id) as place, disk.opened_directory("orig", place) as orig:
            failpoints.reach("copy.begun")
            source = self._opened_original(name, orig)
            try:
                target = _created_copy(place)
                try:
                    failpoints.reach("copy.made")
                    digest, size_bytes = _copied(source, target, on_block)
                except BaseException:
                    os.unlink("input.jsonl", dir_fd=place)
                    raise
                finally:
                    os.close(target)
            finally:
                os.close(source)
            os.fsync(place)
        failpoints.reach("copy.done")
        return digest, size_bytes

    def copy_nothing(self, batch_id: str) -> tuple[str, int]:
        """An empty copy, for a batch whose file cannot be read: it still gets its journal and its results."""
        with self._opened(batch_id) as place:
            target = _created_copy(place)
            try:
                os.fsync(target)
            finally:
                os.close(target)
            os.fsync(place)
        return hashlib.sha256().hexdigest(), 0

    def open_input(self, batch_id: str) -> BinaryIO:
        """Our own copy; the caller closes it."""
        with self._opened(batch_id) as place:
            fd = os.open("input.jsonl", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        return os.fdopen(fd, "rb", _READ_AHEAD_BYTES)

    def reset_intake(self, batch_id: str, keeps_copy: bool = False) -> None:
        """Back to S2."""
        with self._opened(batch_id) as place:
            if not keeps_copy:
                failpoints.reach("reset.begun")
                disk.remove_file("input.jsonl", place)
                failpoints.reach("reset.copy_removed")
            disk.remove_tree("journal", place)
            failpoints.reach("reset.journal_removed")
            os.fsync(place)

    def trash(self, batch_id: str) -> None:
        """The rename that ends a batch. Done already is fine."""
        self.empty_trash(batch_id)  # of a deletion that was interrupted: its name must be free
        with contextlib.suppress(FileNotFoundError):
            disk.rename_new(batch_id, self.layout.processing, _TRASH + batch_id, self.layout.processing)
            failpoints.reach("trash.renamed")
            os.fsync(self.layout.processing)

    def empty_trash(self, batch_id: str) -> None:
        """Delete what `trash` put aside, but for what another user made and keeps."""
        disk.remove_if_allowed(_TRASH + batch_id, self.layout.processing)

    def trashed(self) -> list[str]:
        """The ids of batches whose deletion was interrupted."""
        names = (name.removeprefix(_TRASH) for name in self._names() if name.startswith(_TRASH))
        return [name for name in names if is_batch_id(name)]

    def places(self) -> dict[str, Place]:
        """Every directory that is a batch's."""
        places = {name: self._place(name) for name in self._names()}
        return {name: place for name, place in places.items() if place is not None}

    def strangers(self) -> list[str]:
        """What is no batch's: a person's hand. In words fit for a log."""
        ours = {*self.places(), *(_TRASH + batch_id for batch_id in self.trashed())}
        return [printable(name) for name in self._names() if name not in ours]

    def _names(self) -> list[str]:
        with os.scandir(self.layout.processing) as entries:
            return sorted(entry.name for entry in entries)

    def _place(self, name: str) -> Place | None:
        if not is_batch_id(name):
            return None
        try:
            with disk.opened_directory(name, self.layout.processing) as fd:
                place = Place(
                    has_original=bool(_original_names(fd)),
                    has_copy=disk.has_name("input.jsonl", fd),
                    has_journal=disk.has_name("journal", fd),
                    has_publish=disk.has_name("publish", fd),
                )
                # A directory with nothing that we know is a claim begun, and will be removed, only when it is
                # empty: anything else in it is somebody's.
                return place if place != _NOTHING or not set(os.listdir(fd)) - {"orig"} else None
        except NotADirectoryError:
            return None

    @contextlib.contextmanager
    def _opened(self, batch_id: str) -> Iterator[int]:
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            yield place

    def _opened_original(self, name: bytes, orig: int) -> int:
        try:
            fd = os.open(name, _READ, dir_fd=orig)
        except BlockingIOError as error:  # its owner holds a lease on it
            raise InputChangedError("The batch file is held by its owner.") from error
        except OSError as error:
            if error.errno not in _SUBMITTERS_FAULT:
                raise
            raise NotUsableError(
                f"The batch file cannot be opened: {error.strerror}.",
                "Hand in a plain file that batchd may read (chmod g+r).",
            ) from error
        found = os.fstat(fd)
        reason = ""
        if not stat.S_ISREG(found.st_mode):
            reason = "is not a plain file"
        elif found.st_nlink != 1:
            reason = "has a second name (hard link)"
        elif found.st_size > self.input_bytes_max:
            reason = f"is larger than {self.input_bytes_max} bytes"
        if reason:
            os.close(fd)
            raise NotUsableError(
                f"The batch file {reason}.", "Hand in a plain copy, in parts if it is large."
            )
        return fd


def checked_id(batch_id: str) -> str:
    """The id itself, if it is one: it may come from a submitter's options file, and names a directory."""
    if not is_batch_id(batch_id):
        raise SpoolError(f"{batch_id!a} is not the id of a batch.")
    return batch_id


def _original_names(place: int) -> list[bytes]:
    try:
        with disk.opened_directory("orig", place) as orig, os.scandir(orig) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
    except FileNotFoundError:
        return []
    return [name for name in names if not name.startswith(b".") and not name.endswith(b".options.json")]


def _looked_into(name: bytes, orig: int) -> tuple[bool | None, int]:
    """Whether it has a writer, and about how many lines it has, by its beginning."""
    try:
        fd = os.open(name, _READ, dir_fd=orig)
    except BlockingIOError:
        return True, 0  # its owner holds a lease on it
    except OSError:
        return None, 0  # the copy will say why
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None, 0
        head = os.pread(fd, _HEAD_BYTES, 0)
        lines = head.count(b"\n")
        length_bytes = head.rfind(b"\n") + 1
        return disk.has_writer(fd), found.st_size * lines // length_bytes if lines else 1
    finally:
        os.close(fd)


def _created_copy(place: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open("input.jsonl", flags, 0o400, dir_fd=place)


def _copied(source: int, target: int, on_block: Callable[[bytes], bool]) -> tuple[str, int]:
    before = os.fstat(source)
    digest = hashlib.sha256()
    block, other = (memoryview(bytearray(_BLOCK_BYTES)) for _ in range(2))
    size_bytes = 0
    # One block is hashed while it is written and the next is read into the other one.
    with ThreadPoolExecutor(1, "copy-hash") as beside:
        hashed = None
        while count := os.readv(source, [block]):
            if hashed is not None:
                hashed.result()
            if not on_block(bytes(block[:count])):
                raise NotUsableError("The batch file is not read to its end.")
            hashed = beside.submit(digest.update, block[:count])
            disk.write_all(target, block[:count])
            size_bytes += count
            if size_bytes > before.st_size:
                break  # it grows under our eyes
            block, other = other, block
    failpoints.reach("copy.written")
    os.fsync(target)
    failpoints.reach("copy.synced")
    # In this order: while nobody writes, an unchanged signature proves that we read what is there.
    has_writer = disk.has_writer(source)
    after = os.fstat(source)
    is_same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    if has_writer or not is_same or size_bytes != after.st_size:
        raise InputChangedError(
            "The batch file changed while it was copied.", "It is copied again when its writer has finished."
        )
    return digest.hexdigest(), size_bytes
