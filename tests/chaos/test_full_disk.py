"""Disks that are full: nothing is lost, nothing ends, and the work goes on when there is room.

SUMMARY
    One test fills disks of many sizes to the brim while a batch is at work, then lets them grow;
    BATCHD_TEST_DISKS is how many, BATCHD_TEST_SEED where chance begins. The others fill one at a moment that
    has a name: on tmpfs, which grows, and on ext4, where somebody makes room.

DIAGNOSTICS
    None: tests.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.chaos.disks import PowerDisk, resize, small_disk
from tests.chaos.nursery import Nursery
from tests.chaos.tally import tally
from tests.chaos.world import World

DISKS = int(os.environ.get("BATCHD_TEST_DISKS", "5"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

SMALLEST_MIB, LARGEST_MIB = 1.0, 14.0
GROWN_MIB = 64.0
FULL_S_MAX = 1.5

#: Long enough for a daemon that was stopped to come to the disk and say what it found there.
SAID_S = 20.0

#: The disk fills when the daemon comes here for that time; what its log says of it.
MOMENTS = {
    ("copy.begun", 1): "waits: the disk is full",
    ("journal.directory_made", 1): "waits: the disk is full",
    ("lines.begun", 1): "changes failed",
    ("accept.begun", 1): "changes failed",
    ("answer.arrived", 3): "No space left",
    ("answer.durable", 3): "No space left",
    ("assembly.begun", 1): "its results wait for room",
    ("assembly.file_made", 1): "its results wait for room",
}

#: On another file system, whose errors are others, these will do.
SOME = (("copy.begun", 1), ("lines.begun", 1), ("answer.durable", 3), ("assembly.file_made", 1))


def fill(place: Path, leave_bytes: int) -> None:
    """Somebody else takes all but so much."""
    with (place / "ballast").open("ab", buffering=0) as ballast:
        for size in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(size))
        if leave_bytes:
            ballast.truncate(max(0, ballast.tell() - leave_bytes))


@pytest.mark.timeout(60 + 20 * DISKS)
def test_a_disk_that_is_full_and_grows_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Nursery() as nursery:
        for number in range(DISKS):
            place = tmp_path / str(number)
            place.mkdir()
            size_mib = chance.uniform(SMALLEST_MIB, LARGEST_MIB)
            with (
                small_disk(place, size_mib) as disk,
                World(place, nursery, delay_s=0.005, spool=disk / "spool", answer_tokens=400) as world,
                tally("full disks", SEED, world.books),
            ):
                one_disk(world, disk, chance)


def one_disk(world: World, disk: Path, chance: random.Random) -> None:
    world.books.blows += 1
    world.start()
    world.drop(chance.randint(100, 400))
    time.sleep(chance.uniform(0.0, 0.8))
    fill(disk, chance.randrange(0, 200_000))
    time.sleep(chance.uniform(0.1, FULL_S_MAX))
    resize(disk, GROWN_MIB)
    ends = 0
    while world.daemon.poll() is not None or not world.is_finished(0.5):
        if world.daemon.poll() is None:
            continue
        log = world.log()
        assert world.daemon.code == 1, f"seed {SEED}: ended with {world.daemon.code}\n{log}"
        assert "A bug in batchd" not in log, log
        ends += 1
        assert ends < 5, f"seed {SEED}: it does not come up any more\n{log}"
        world.start()
    world.check()


@contextlib.contextmanager
def growing(place: Path) -> Iterator[tuple[Path, str]]:
    with small_disk(place, LARGEST_MIB) as disk:
        yield disk, "tmpfs"


@contextlib.contextmanager
def cleared(place: Path) -> Iterator[tuple[Path, str]]:
    with PowerDisk(place) as disk:
        yield disk.path, "ext4"


def make_room(disk: Path, kind: str) -> None:
    (disk / "ballast").unlink()
    if kind == "tmpfs":
        resize(disk, GROWN_MIB)


def said_since(world: World, start: int, *words: str) -> bool:
    log = world.log_path.read_bytes()[start:].decode(errors="replace")
    return all(word in log for word in words)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("disk_of", "moments"), [(growing, MOMENTS), (cleared, SOME)])
def test_a_disk_that_fills_at_a_moment_stops_nothing_for_good(
    tmp_path: Path,
    disk_of: "Callable[[Path], contextlib.AbstractContextManager[tuple[Path, str]]]",
    moments: Iterable[tuple[str, int]],
) -> None:
    with (
        Nursery() as nursery,
        disk_of(tmp_path) as (disk, kind),
        World(tmp_path, nursery, spool=disk / "spool", answer_tokens=400) as world,
        tally("full disks", SEED, world.books),
    ):
        for name, count in moments:
            word = MOMENTS[name, count]
            start = filled_at(world, disk, name, count)
            world.wait_until(lambda: said_since(world, start, word, "make room"), word, SAID_S)  # noqa: B023
            make_room(disk, kind)
            world.finish()
            world.daemon.kill()  # it looks for an order only once
            world.daemon.wait(10)
        world.start()
        world.check()


def filled_at(world: World, disk: Path, name: str, count: int) -> int:
    """The disk is full when a batch is there, and the daemon goes on; where its log ended before."""
    world.start(f"{name} {count} SIGSTOP")
    world.books.blows += 1
    world.drop(12)
    world.wait_until(world.daemon.is_stopped, f"a daemon that stops at {name} {count}")
    start = world.log_path.stat().st_size
    fill(disk, 0)
    world.daemon.kill(signal.SIGCONT)
    return start


@pytest.mark.parametrize(
    ("name", "word"), [("answer.arrived", "No space left"), ("assembly.begun", "results wait")]
)
def test_a_daemon_that_waits_for_room_obeys_a_stop_and_the_next_one_waits_too(
    tmp_path: Path, name: str, word: str
) -> None:
    settings = {"BATCHD_DRAIN_S": "0.5"}
    with (
        Nursery() as nursery,
        small_disk(tmp_path, LARGEST_MIB) as disk,
        World(tmp_path, nursery, spool=disk / "spool", answer_tokens=400, settings=settings) as world,
        tally("full disks", SEED, world.books),
    ):
        start = filled_at(world, disk, name, 1)
        world.wait_until(lambda: said_since(world, start, word), word, SAID_S)
        world.daemon.kill(signal.SIGTERM)
        assert world.daemon.wait(40) == 0, world.log()
        start = world.log_path.stat().st_size
        world.start()
        world.wait_until(lambda: said_since(world, start, "make room"), "its reason", SAID_S)
        make_room(disk, "tmpfs")
        world.finish()
        world.check()


#: On a file system of so many inodes; what somebody else takes of them; what the log says then.
INODES = 400
INODES_SAID = {
    ("copy.begun", 1): "waits: ",
    ("answer.durable", 3): "short of inodes",
    ("assembly.begun", 1): "its results wait for room",
}


@pytest.mark.timeout(120)
def test_a_disk_without_inodes_is_said_by_that_name_and_loses_nothing(tmp_path: Path) -> None:
    with (
        Nursery() as nursery,
        small_disk(tmp_path, GROWN_MIB, INODES) as disk,
        World(tmp_path, nursery, spool=disk / "spool") as world,
        tally("full disks", SEED, world.books),
    ):
        for (name, count), word in INODES_SAID.items():
            world.start(f"{name} {count} SIGSTOP")
            world.books.blows += 1
            world.drop(12)
            world.wait_until(world.daemon.is_stopped, f"a daemon that stops at {name} {count}")
            start = world.log_path.stat().st_size
            taken = list(taken_inodes(disk))
            world.daemon.kill(signal.SIGCONT)
            world.wait_until(lambda: said_since(world, start, word, "inodes"), word, SAID_S)  # noqa: B023
            for path in taken:
                path.unlink()
            world.finish()
            world.daemon.kill()
            world.daemon.wait(10)
        world.start()
        world.check()


def taken_inodes(disk: Path) -> Iterator[Path]:
    for number in range(INODES):
        path = disk / f"taken-{number}"
        try:
            path.touch()
        except OSError:
            return
        yield path
