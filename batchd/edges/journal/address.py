"""Address space: how large a map of a journal may be where a shell or a cluster limits it (`ulimit -v`).

SUMMARY
    LMDB maps the whole environment at its largest size. That costs no memory, but address space, and where
    this is limited 64 GiB are refused. Then a journal begins with a part of what is left and is opened with a
    larger map when it is full; when nothing is left, the sentence names the limit and what would be enough.

DIAGNOSTICS
    None: it counts, and makes the error that others raise.
"""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from batchd.core.space import in_units
from batchd.errors import JournalError

#: Address space, not disk: so large that growing, which would end every open transaction, is never needed
#: where nobody limits it.
MAP_BYTES = 64 * 1024**3

#: What of it is kept for the end of a batch: an error line of some 300 bytes for each line that is pending.
_LEFT_SHARE = 1 / 8

#: Of a limited address space a journal takes this share of what is left: others may be open beside it, and
#: threads and answers need theirs.
_SHARE = 1 / 8

#: Below this a journal holds some thousands of lines and is not begun.
_MAP_BYTES_MIN = 64 * 1024**2

#: What is in use is never the same twice.
_NEXT_TIME = 1.1

#: LMDB wants whole pages.
_PAGE_BYTES = resource.getpagesize()


def map_bytes(data: Path) -> int:
    """The map for the journal in this file, which need not be there yet. JournalError where none fits."""
    left = _left_bytes()
    if left is None:
        return MAP_BYTES
    data_bytes = data.stat().st_size if data.exists() else 0
    # Twice what is there: a commit copies pages before it gives the old ones back.
    wanted = max(int(left * _SHARE), 2 * data_bytes)
    if wanted < _MAP_BYTES_MIN or wanted > left:
        raise too_small(max(_MAP_BYTES_MIN, 2 * data_bytes))
    return min(wanted, MAP_BYTES) // _PAGE_BYTES * _PAGE_BYTES


def larger(map_bytes_now: int) -> int | None:
    """The next map of a journal that filled this one; None where a limit is not what holds it.

    JournalError where the address space has no room for it.
    """
    if map_bytes_now >= MAP_BYTES:
        return None
    left = _left_bytes()
    wanted = min(2 * map_bytes_now, MAP_BYTES)
    if left is not None and wanted > left + map_bytes_now:  # the old one is given back before
        raise too_small(wanted)
    return wanted


def nearly_fills(used_bytes: int, map_bytes_now: int) -> bool:
    """Whether so much is an eighth away from the largest map that this one can grow to, or nearer."""
    largest, left = map_bytes_now, _left_bytes()
    while left is not None and largest < MAP_BYTES and 2 * largest <= left + map_bytes_now:
        largest *= 2
    return used_bytes > (1 - _LEFT_SHARE) * min(largest, MAP_BYTES)


def too_small(needed_bytes: int) -> JournalError:
    """Names the limit. `needed_bytes` beside what is used now."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _used_bytes()
    enough = int((used + needed_bytes / _SHARE) * _NEXT_TIME) // 1024
    return JournalError(
        f"The address space of this process is limited to {in_units(limit)} (ulimit -v); {in_units(used)} "
        f"are in use, and a journal needs {in_units(needed_bytes)} more.",
        f"Raise the limit: `ulimit -v unlimited`, or at least `ulimit -v {enough}` (LimitAS= of a unit). "
        "Nothing is lost.",
    )


@contextmanager
def address_room(map_bytes_now: int) -> Iterator[None]:
    """While LMDB maps so much: want of address space is told as what it is."""
    try:
        yield
    except lmdb.Error as error:
        if error.code == errno.ENOMEM and _left_bytes() is not None:
            raise too_small(map_bytes_now) from error
        raise


def _left_bytes() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else max(0, limit - _used_bytes())


def _used_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
