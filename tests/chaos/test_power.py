"""The power fails: what was acknowledged is on the disk.

SUMMARY
    BATCHD_TEST_CUTS is the number of cuts at random moments, BATCHD_TEST_SEED their seed.
"""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.core.lifecycle import Phase
from batchd.edges.journal import Journal
from tests.chaos.disks import PowerDisk
from tests.chaos.nursery import Nursery
from tests.chaos.tally import tally
from tests.chaos.world import World

CUTS = int(os.environ.get("BATCHD_TEST_CUTS", "3"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: What is promised at a moment: these files are on the disk, with the bytes that everybody sees.
PROMISES = {
    "claim.place_synced": "processing/{}/orig",
    "claim.orig_synced": "processing/{}/orig/*.jsonl",
    "claim.done": "processing/{}/orig/*.jsonl",
    "options.done": "processing/{}/orig/*.options.json",
    "copy.done": "processing/{}/input.jsonl",
    "journal.done": "processing/{}/journal/data.mdb",
    "seal.done": "processing/{}/publish/*",
    "publish.outbox_synced": "outbox/*.{}/*",
    "archive.synced": "archive/{}/*",
    "archive.done": "archive/{}/*",
    "trash.done": "processing/.trash-{}",
}
#: At these, all that the journal says is on the disk.
OF_THE_JOURNAL = (
    ("accept.done", 1),
    ("phase.done", 1),
    ("commit.done", 9),
    ("answer.durable", 8),
    ("phase.done", 2),
)


@contextlib.contextmanager
def a_world(tmp_path: Path) -> Iterator[tuple[World, PowerDisk]]:
    with (
        Nursery() as nursery,
        PowerDisk(tmp_path) as disk,
        World(tmp_path, nursery, spool=disk.path / "spool", delay_s=0.01) as made,
        tally("power cuts", SEED, made.books),
    ):
        yield made, disk


def seen(spool: Path, batch_id: str, pattern: str) -> dict[str, bytes]:
    found = spool.glob(pattern.format(batch_id))
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}


def journaled(world: World, batch_id: str) -> tuple[Phase | None, set[str]]:
    """What a copy of the journal says."""
    copy = world.directory / "phase"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(world.spool / "processing" / batch_id / "journal", copy)
    journal = Journal.open(str(copy))
    phase = journal.phase()
    journal.close()
    return phase, world.durable()


def stop_at(world: World, name: str, count: int) -> str:
    """A batch whose daemon is stopped at this moment."""
    world.finish()
    world.order(f"{name} {count} SIGSTOP")
    batch_id = world.drop(12)
    world.wait_until(world.daemon.is_stopped, f"a daemon that stops at {name} {count}")
    return batch_id


@pytest.mark.timeout(120)
def test_what_was_synced_at_a_moment_is_there_after_a_power_cut_at_that_moment(
    tmp_path: Path,
) -> None:
    with a_world(tmp_path) as (here, disk):
        here.start()
        for name, pattern in PROMISES.items():
            batch_id = stop_at(here, name, 1)
            before = seen(here.spool, batch_id, pattern)
            assert before, f"nothing is promised at {name}"
            here.cut(disk)
            assert seen(here.spool, batch_id, pattern) == before, f"{name} was not kept"
            here.start()
        for name, count in OF_THE_JOURNAL:
            batch_id = stop_at(here, name, count)
            said = journaled(here, batch_id)
            here.cut(disk)
            assert journaled(here, batch_id) == said, f"{name} {count} was not kept"
            here.start()
        here.finish()
        here.check()


@pytest.mark.timeout(60 + 10 * CUTS)
def test_power_cuts_at_random_moments_lose_no_acknowledged_answer(tmp_path: Path) -> None:
    with a_world(tmp_path) as (here, disk):
        chance = random.Random(SEED)
        here.start()
        for number in range(CUTS):
            if number % 3 == 0:
                here.finish()
                for batch_id in list(here.batches)[-1:]:
                    here.collect(batch_id)
            here.drop(chance.randint(30, 90))
            time.sleep(chance.uniform(0.02, 0.6))
            here.daemon.kill(signal.SIGSTOP)
            here.cut(disk)
            here.start()
        here.finish()
        here.check()


def test_without_a_sync_of_directories_and_files_a_power_cut_is_noticed(
    tmp_path: Path,
) -> None:
    """The control: a cut that forgives everything would prove nothing."""
    with a_world(tmp_path) as (here, disk):
        here.start(lies=("fsync",))
        batch_id = stop_at(here, "publish.outbox_synced", 1)
        before = seen(here.spool, batch_id, PROMISES["publish.outbox_synced"])
        assert before
        here.wait_until(here.daemon.is_stopped, "a stopped daemon")
        disk.freeze()
        here.daemon.kill()
        here.daemon.wait(10)
        disk.thaw()
        assert seen(here.spool, batch_id, PROMISES["publish.outbox_synced"]) != before
