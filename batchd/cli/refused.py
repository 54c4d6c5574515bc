"""What the machine refused and nobody below could name: a limit, a disk, or the place of the command.

SUMMARY
    Such an error is no bug of ours, and a trace helps nobody. What is left unnamed here is one.

DIAGNOSTICS
    None: it makes the error that is told.
"""

import errno
from pathlib import Path

from batchd.core.ulimits import limit_words
from batchd.errors import BatchdError, UsageError

_NEXT_STEP = "Raise it, and give the command again. What was durable stays so."
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

#: How Python says that the kernel started no thread; it has no errno of its own.
_NO_THREAD = "can't start new thread"


def refused(error: BaseException) -> BatchdError | None:
    """This error in words; None where it is a bug."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := refused(inner))), None)
    if isinstance(error, MemoryError):
        return _limit(errno.ENOMEM, "")
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _limit(errno.EAGAIN, "")
    if not isinstance(error, OSError):
        return None
    name = "" if error.filename is None else f" ({error.filename!a})"
    if error.errno == errno.ENOENT and _is_nowhere():
        return UsageError("The current directory is gone.", "Change to one that is there (cd).")
    if error.errno == errno.EIO:
        return BatchdError(f"The disk reports an error: {error.strerror}{name}.", "Look at the kernel's log.")
    if error.errno in _DISK:
        return BatchdError(
            f"The disk refused to write: {error.strerror}{name}.", "Make room, or name another place."
        )
    return _limit(error.errno, name)


def _limit(code: int | None, name: str) -> BatchdError | None:
    words = limit_words(code)
    return BatchdError(f"A limit was met: {words}{name}.", _NEXT_STEP) if words else None


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
