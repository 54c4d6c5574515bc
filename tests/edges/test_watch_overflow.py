"""More changes than the kernel's queue holds: the bell may miss them, the sweep must not."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.edges.spool import Spool
from batchd.edges.watch import Bell

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
FILES = 20_000


@pytest.fixture
def short_queue() -> Iterator[None]:
    """64 events; the kernel asks for the limit when a watcher is made."""
    before = QUEUE.read_text()
    try:
        QUEUE.write_text("64")
    except OSError:
        pytest.skip("may not change the limits of inotify here")
    try:
        yield
    finally:
        QUEUE.write_text(before)


def flood(inbox: Path) -> None:
    for number in range(FILES):
        (inbox / f"{number:05}.jsonl").touch()


def swept(spool: Spool, inbox: Path) -> int:
    """How many names come up in sweeps, one after the other: each holds so many, and those are taken away."""
    count = 0
    while seen := spool.sweep():
        count += len(seen)
        for item in seen:
            (inbox / os.fsdecode(item.name)).unlink()
    return count


@pytest.mark.usefixtures("short_queue")
async def test_20_000_files_overflow_the_watcher_and_the_sweep_has_them_all(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    inbox = tmp_path / "spool" / "inbox"
    bell = Bell(inbox, pause_s=0.05)
    try:
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            group.create_task(bell.run())
            assert await bell.wait(10.0)  # the watcher stands
            await asyncio.to_thread(flood, inbox)
            assert await bell.wait(10.0)
            assert await asyncio.to_thread(swept, spool, inbox) == FILES
            while await bell.wait(0.5):
                pass
            (inbox / "after.jsonl").touch()
            assert await bell.wait(10.0)
            await bell.close()
    finally:
        spool.close()
