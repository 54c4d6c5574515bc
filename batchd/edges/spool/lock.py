"""The lock of a spool: one daemon at a time.

SUMMARY
    `take` holds `lock` in the root of the spool until the descriptor is closed, or the process ends. The file
    is for its owner alone: who may read a file may also lock it, and a member of the submit group could keep
    the next daemon out.

DIAGNOSTICS
    Fatal: UnavailableError when another process holds it, or when the name is taken by what is no file of
    ours. Never ConfigError: whoever took the name may give it back, and then a new start helps.
"""

import fcntl
import os
import stat
from pathlib import Path

from batchd.core.flocks import flocks_of, lock_id
from batchd.edges.spool import disk
from batchd.errors import UnavailableError

_NAME = "lock"

#: Anybody may lock files of his own: some 200,000 locks are looked through.
_LOCKS_CHARS_MAX = 16 << 20

#: Holders that are named: one, or a process and the children that it handed the lock to.
_NAMED_MAX = 3


def take(root: int, path: Path) -> int:
    """A descriptor of the lock. `root` is open, `path` its name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(_NAME, flags, 0o600, dir_fd=root)
    except OSError as error:
        if not disk.has_name(_NAME, root):
            raise  # the directory's own trouble
        found = os.stat(_NAME, dir_fd=root, follow_symlinks=False)
        raise _unfit(path, found, error.strerror or "unknown error") from error
    try:
        _lock(fd, root, path)
        os.ftruncate(fd, 0)
        disk.write_all(fd, b"%d\n" % os.getpid())
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int, root: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise _unfit(path, found, "it has a second name")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(
            f"The spool {ascii(str(path))[1:-1]} is held by another batchd (process {_holder(root)}).",
            "Hand the file to that one with `batchd submit --wait FILE`, or look at `batchd status`.",
        ) from None
    if found.st_uid == os.geteuid():
        os.fchmod(fd, 0o600)  # older ones were readable for the group


def _holder(root: int) -> str:
    """As the kernel lists it: what stands in the file may be anybody's word."""
    try:
        fd = os.open(_NAME, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
            fdinfo = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
            name = lock_id(mountinfo, fdinfo, os.fstat(fd).st_ino)
        finally:
            os.close(fd)
        with Path("/proc/locks").open(encoding="ascii", errors="replace") as file:
            held = flocks_of([name], file.read(_LOCKS_CHARS_MAX))
    except OSError:
        return "unknown"
    return ", ".join(str(flock.pid) for flock in held.get(name, ())[:_NAMED_MAX]) or "unknown"


def _unfit(path: Path, found: os.stat_result, why: str) -> UnavailableError:
    kind = "a file" if stat.S_ISREG(found.st_mode) else "no plain file"
    return UnavailableError(
        f"The lock of the spool cannot be taken: {ascii(str(path / _NAME))[1:-1]} is {kind} of user number "
        f"{found.st_uid}, and cannot be used ({why}).",
        "Remove it, or give it to the user who runs batchd, and start batchd again.",
    )
