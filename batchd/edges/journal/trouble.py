"""What LMDB and the disk say when they fail, in our words: damaged, full, or out of order.

SUMMARY
    of_lmdb   an error of LMDB as a JournalError of the right kind
    of_disk   the same for an OSError
    words_of  an error of LMDB for a sentence
    is_full   whether it was for want of room

DIAGNOSTICS
    None: it makes the errors that others raise.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from batchd.core.packing import NEXT_STEP_DAMAGED
from batchd.core.space import no_files_left
from batchd.core.ulimits import limit_words
from batchd.errors import DamagedJournalError, FullJournalError, JournalError

NEXT_STEP_DISK = "Look at the disk and at the owner of the spool, then start batchd again."

#: What LMDB says of a file that is not what it wrote. Anything else is the disk's trouble, and may pass.
DAMAGES = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.BadTxnError)
#: What a full disk says; a tmpfs says EIO, so its free space is looked at too.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
#: The largest group of changes, in pages that are copied with it.
_GROUP_BYTES_MAX = 8 * 1024**2


def of_lmdb(what: str, error: lmdb.Error, path: str | Path) -> JournalError:
    """`what` is the beginning of the sentence."""
    if isinstance(error, DAMAGES):
        return DamagedJournalError(f"{what}: {error}.", NEXT_STEP_DAMAGED)
    kind = FullJournalError if is_full(path, error) else JournalError
    return kind(f"{what}: {_named(path, _code(error)) or error}.", NEXT_STEP_DISK)


def words_of(error: lmdb.Error) -> str:
    """What LMDB says, or the limit that it met."""
    return limit_words(_code(error)) or str(error)


def _code(error: lmdb.Error) -> int | None:
    """Of the kernel or of LMDB; not every error has one."""
    return getattr(error, "code", None)


def of_disk(what: str, error: OSError, path: str | Path) -> JournalError:
    """As `of_lmdb`."""
    kind = FullJournalError if error.errno in NO_ROOM else JournalError
    return kind(f"{what}: {_named(path, error.errno) or error.strerror}.", NEXT_STEP_DISK)


def _named(path: str | Path, code: int | None) -> str:
    """The limit that was met, or that it is inodes which lack; empty where it is neither."""
    if code != errno.ENOSPC:
        return limit_words(code)
    for place in (Path(path), Path(path).parent):  # the journal's own directory may not be made yet
        with suppress(OSError):
            space = os.statvfs(place)
            return no_files_left(space.f_files, space.f_favail)
    return ""


def is_full(path: str | Path, error: lmdb.Error) -> bool:
    """Whether the disk is full, or so nearly that the largest commit finds no place."""
    if isinstance(error, lmdb.DiskError) or error.code in NO_ROOM:
        return True
    try:
        space = os.statvfs(path)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < _GROUP_BYTES_MAX


@contextmanager
def making(path: str) -> Iterator[None]:
    """While a journal is made: what the disk refuses, as a JournalError."""
    try:
        yield
    except OSError as error:
        raise of_disk(f"The journal {path} cannot be made", error, path) from error
