"""Private: whether a directory is this user's own, before anything in it is believed.

SUMMARY
    Who may write into a directory may put links, files and whole spools there before us, and move what we
    made. So results and a spool go only into a directory that belongs to this user and that nobody else may
    write; a link to it must be this user's, or root's. Directories that we make are never open to others,
    whatever the umask.

DIAGNOSTICS
    Fatal: ConfigError, with the command that mends it.
"""

import grp
import os
import pwd
import shlex
import stat
from pathlib import Path

from batchd.errors import ConfigError


def opened_own(path: Path, mode: int) -> int:
    """A descriptor of this directory, which is made with `mode` if it is not there."""
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(mode, exist_ok=True)
    link = os.lstat(path)
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise _refused(path, f"is a link that user {link.st_uid} made")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make(path: Path) -> None:
    """The directories above it that lack. `mkdir(parents=True)` would leave them to the umask."""
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(0o755, exist_ok=True)


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _refused(path, f"belongs to another user (number {found.st_uid})")
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_of_one(found.st_gid)):
        shown = shlex.quote(ascii(str(path))[1:-1])
        raise ConfigError(
            f"{shown} may be written by other users (mode {stat.S_IMODE(found.st_mode):04o}), who could put "
            "anything there in the name of batchd.",
            f"Look at what lies there, then: chmod go-w {shown}; or name another directory.",
        )


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{ascii(str(path))[1:-1]} {why}, who could have put anything there in the name of batchd.",
        "Name a directory of your own with --out or --spool, or run batchd as that user.",
    )


def _is_of_one(group: int) -> bool:
    """Whether it is this user's own group, as most systems make one for each user, with nobody else in it."""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}
