"""What the disk says when it refuses, in our words: one SpoolError with a sentence and the next step.

SUMMARY
    translated      turns the OSError of a method of the spool into it
    as_spool_error  the same for one error
    why             the sentence of the kernel; a limit, or inodes that lack, by their names

DIAGNOSTICS
    None: it makes the errors that others raise.
"""

import errno
import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from batchd.core.space import no_files_left
from batchd.core.ulimits import limit_words
from batchd.errors import NoSpaceError, SpoolError

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NEXT_STEPS = {
    errno.ENOSPC: "Make room on this disk, and start batchd again if it has ended; nothing is lost.",
    errno.EDQUOT: "Raise the quota or make room, and start batchd again if it has ended; nothing is lost.",
    errno.EROFS: "Mount the spool's file system writable; under systemd it must be in ReadWritePaths=.",
    errno.EACCES: "Give the spool's directories to the user that runs batchd.",
    errno.EPERM: "Give the spool's directories to the user that runs batchd.",
    errno.EMFILE: "Raise the limit and start batchd again; nothing is lost.",
    errno.EFBIG: "Raise the limit and start batchd again; nothing is lost.",
    errno.EIO: "The disk reports an error: look at the kernel's log.",
}

#: What a full disk and a used-up quota answer.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def translated(doing: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Turn the OSError of a method into a SpoolError that says what was being done."""

    def wrap(method: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(method)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return method(*args, **kwargs)
            except OSError as error:
                raise as_spool_error(doing, error, _directory_of(args[0])) from error

        return call

    return wrap


def why(error: OSError, place: int | Path | None = None) -> str:
    """What the kernel says. Where it says that there is no space, and means inodes at `place`: that."""
    if error.errno == errno.ENOSPC and place is not None:
        with suppress(OSError):
            space = os.statvfs(place)
            return no_files_left(space.f_files, space.f_favail) or str(error.strerror)
    return limit_words(error.errno) or error.strerror or str(error)


def nearest(path: Path) -> Path:
    """It, or the first directory above it that is there."""
    return next(place for place in (path, *path.parents) if place.is_dir())


def _directory_of(spool: object) -> int | None:
    layout = getattr(spool, "_layout", None)
    return None if layout is None else layout.root


def as_spool_error(doing: str, error: OSError, place: int | Path | None = None) -> SpoolError:
    """One sentence and the next step. The name is written in ASCII: a submitter may have chosen it.

    `place`: a directory of the spool that is open, or its path.
    """
    name = "" if error.filename is None else f" ({error.filename!a})"
    next_step = _NEXT_STEPS.get(error.errno or 0, "Look at the spool's directory and start batchd again.")
    kind = NoSpaceError if error.errno in _NO_SPACE else SpoolError
    return kind(f"The spool failed when {doing}: {why(error, place)}{name}.", next_step)
