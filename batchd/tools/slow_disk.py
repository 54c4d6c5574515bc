"""Slow disk: `python -m batchd.tools.slow_disk daemon --config FILE` has commits that take longer.

SUMMARY
    Each commit of a journal waits 8 ms more, in the thread of its writer, as it would for a slow disk.

DIAGNOSTICS
    Those of `batchd daemon`.
"""

import asyncio
import sys
import time
from pathlib import Path

from batchd import failpoints
from batchd.app import serve
from batchd.settings import load_settings, surroundings

#: What a commit takes more: that of a hard disk, or of a disk across a network.
COMMIT_S = 0.008


def slowed(name: str) -> None:
    """Armed with this, a commit is late."""
    if name == "commit.begun":
        time.sleep(COMMIT_S)


def main(config: Path) -> None:
    """The daemon, with these settings."""
    failpoints.arm(slowed)
    asyncio.run(serve(lambda: load_settings({}, config), surroundings()))


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
