"""Plain: a small file that somebody else may have put there, read whole and never waited for.

SUMMARY
    The verbs that only read do it in spools of other users too. What lies there under a name of ours may be a
    link, a pipe that nobody writes, a device without an end, or ten gigabytes.

DIAGNOSTICS
    None of its own: OSError, with a reason in words, for all that is not a plain file within its bound.
"""

import errno
import os
import stat
from pathlib import Path

#: A status lists a hundred names of the inbox, and the batches of the house: some hundred kilobytes.
STATUS_BYTES_MAX = 16 << 20

#: The metrics of a batch list their largest groups and a bounded ring of events: a megabyte at most.
METRICS_BYTES_MAX = 64 << 20

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_head(path: Path, bytes_max: int) -> bytes:
    """Its first bytes. OSError, FileNotFoundError among them."""
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", os.fspath(path))
        return file.read(bytes_max)


def read_plain(path: Path, bytes_max: int) -> bytes:
    """All of it. OSError, FileNotFoundError among them."""
    content = read_head(path, bytes_max + 1)
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, f"it is larger than {bytes_max >> 20} MiB", os.fspath(path))
    return content
