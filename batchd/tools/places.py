"""Places: a directory for one run, gone afterwards.

DIAGNOSTICS
    None: what cannot be deleted is left to the system's own care of temporary files.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary() -> Iterator[Path]:
    """On the disk of TMPDIR: a file system in memory has no commits to wait for."""
    place = Path(tempfile.mkdtemp(prefix="batchd-bench-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
