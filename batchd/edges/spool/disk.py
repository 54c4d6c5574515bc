"""What the rooms of the spool do with the disk: rename, sync, delete, relative to open directories.

SUMMARY
    A rename never overwrites and is synced on both sides before anybody relies on it. Names are looked up
    below descriptors that are held open, so that no link in a path can lead elsewhere. `renameat2` is
    reached through ctypes because Python has no door to it.

DIAGNOSTICS
    Fatal: OSError, which the spool translates (`trouble`).
    Warning: a tree that another user keeps us from deleting.
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import signal
import stat
from collections.abc import Iterator

from loguru import logger

#: From linux/fs.h: fail with EEXIST instead of replacing the target.
_RENAME_NOREPLACE = 1
#: What a kernel without renameat2 (ENOSYS), or a file system without its flags (EINVAL), answers.
_NO_RENAMEAT2 = frozenset({errno.ENOSYS, errno.EINVAL})

#: What a name answers that has gone, or that is a stranger's: too long, or a file system of his own (FUSE) is
#: mounted on it, alive or dead. Anything else is the disk's, or a limit's.
NOT_SHOWN = frozenset({errno.EACCES, errno.EPERM, errno.ENOTCONN, errno.ESTALE, errno.ELOOP})
_NOT_THERE = NOT_SHOWN | {errno.ENOENT, errno.ENAMETOOLONG}

#: The unit of st_blocks, whatever the file system's own is.
_BLOCK_BYTES = 512

#: What deleting answers for directories of another user, immutable files and mount points.
_KEPT_BY_OTHERS = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.ENOTEMPTY})

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def opened_directory(name: str | bytes, dir_fd: int) -> Iterator[int]:
    """A descriptor of the directory `name`, which must not be a link."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def has_name(name: str | bytes, dir_fd: int) -> bool:
    """Whether the name is taken, be it by a broken link."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_unclaimed(batch_id: str, processing: int) -> bool:
    """Whether this directory in processing/ is what a claim leaves that did not happen: nothing in it."""
    try:
        with opened_directory(batch_id, processing) as place:
            names = os.listdir(place)
            if names != ["orig"]:
                return not names
            with opened_directory("orig", place) as orig:
                return not os.listdir(orig)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):  # a person's hand
            return False
        raise


def rename_new(source: str | bytes, source_fd: int, target: str | bytes, target_fd: int) -> None:
    """Rename without overwriting: FileExistsError when the target's name is taken. The caller syncs."""
    ctypes.set_errno(0)
    done = _libc.renameat2(
        source_fd, os.fsencode(source), target_fd, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _NO_RENAMEAT2:
        raise OSError(code, os.strerror(code), source, None, target)
    # Without the flag two steps are all there is; every target directory but the inbox has one writer: us.
    if has_name(target, target_fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write to the last byte."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def grant(fd: int, wanted: int) -> None:
    """Add the permissions that a stricter umask took.

    Only when some are missing: with the set-group bit in the mode, RestrictSUIDSGID= refuses any chmod.
    """
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode & wanted != wanted:
        os.fchmod(fd, mode | wanted)


def looked_at(name: str | bytes, dir_fd: int) -> os.stat_result:
    """What lies there, by a descriptor that opens nothing: no pipe waits, no link leads elsewhere."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def owner_of(name: str | bytes, dir_fd: int) -> int | None:
    """The user id, None where there is nothing that a user shows under this name."""
    try:
        return looked_at(name, dir_fd).st_uid
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise  # without its options a batch would be another one
        return None


def bytes_below(name: str, dir_fd: int, but: str = "") -> int:
    """What the files in a directory, and those in its directories, take on the disk; 0 when it has gone.

    One level deep, as a batch's directory is. `but`: a name that does not count.
    """
    total = 0
    with contextlib.suppress(FileNotFoundError), opened_directory(name, dir_fd) as place:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.name != but]
        for inner in names:
            with contextlib.suppress(FileNotFoundError):  # it goes on working while we look
                found = os.stat(inner, dir_fd=place, follow_symlinks=False)
                total += found.st_blocks * _BLOCK_BYTES
                if stat.S_ISDIR(found.st_mode):
                    with opened_directory(inner, place) as deeper, os.scandir(deeper) as entries:
                        total += sum(
                            _BLOCK_BYTES * entry.stat(follow_symlinks=False).st_blocks for entry in entries
                        )
    return total


def remove_tree(name: str, dir_fd: int, entries_max: int | None = None) -> bool:
    """Delete a directory and all below it, following no link. False when there is none.

    Also False when `entries_max` names were deleted and more are left, for another call. What lies deep is
    brought up before it is deleted: neither the stack nor the number of descriptors grows with the depth.
    """
    try:
        with opened_directory(name, dir_fd) as top:
            if not _emptied(top, itertools.count() if entries_max is None else iter(range(entries_max))):
                return False
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def remove_if_allowed(name: str, dir_fd: int) -> bool:
    """As `remove_tree`; a tree that another user keeps us from deleting stays, and it is said."""
    try:
        return remove_tree(name, dir_fd)
    except OSError as error:
        if error.errno not in _KEPT_BY_OTHERS:
            raise
        logger.bind(event="tree_stays").warning("{} cannot be deleted and stays: {}", name, error.strerror)
        return False


def _emptied(top: int, budget: Iterator[int]) -> bool:
    device, fresh = os.fstat(top).st_dev, itertools.count()
    is_empty = False
    while not is_empty:
        is_empty = True
        with os.scandir(top) as entries:
            for entry in entries:
                is_empty = False
                if next(budget, None) is None:
                    return False
                if not _removed(entry.name, top) and not _flattened(entry.name, top, device, budget, fresh):
                    return False
    return True


def _flattened(name: str, top: int, device: int, budget: Iterator[int], fresh: Iterator[int]) -> bool:
    """Delete what lies in the directory `name`; directories in it that hold something move up."""
    with opened_directory(name, top) as place:
        if os.fstat(place).st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted in it", name)
        with os.scandir(place) as entries:
            for entry in entries:
                if next(budget, None) is None:
                    return False
                if not _removed(entry.name, place):
                    _move_up(entry.name, place, top, fresh)
    return True


def _removed(name: str, dir_fd: int) -> bool:
    """False for a directory that holds something."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
    return True


def _move_up(name: str, place: int, top: int, fresh: Iterator[int]) -> None:
    for number in fresh:
        with contextlib.suppress(FileExistsError):
            rename_new(name, place, f".up-{number}", top)
            return


def remove_file(name: str | bytes, dir_fd: int) -> bool:
    """Delete a file. False when there is none."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def has_writer(fd: int) -> bool | None:
    """Whether the file of this read-only descriptor is open for writing; None: the kernel does not say.

    A read lease is granted only while nobody writes (fcntl(2)); it needs ownership of the file or CAP_LEASE.
    """
    try:
        # Who opens the file for writing while we hold the lease makes the kernel send us SIGIO, which would
        # end the process. SIGURG in its place is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
