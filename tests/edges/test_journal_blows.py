"""What is left of a journal after a blow: a kill, a full disk, a torn file. All in child processes.

DIAGNOSTICS
    None: tests.
"""

import random
import shutil
import subprocess
import sys
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.core.lifecycle import Phase
from batchd.core.record import LineRow, NewLine, Plan
from batchd.edges.journal import Journal

ROOT = Path(__file__).parents[2]
#: A child that hangs is a failure, well before the limit of the test.
CHILD_S = 30


def make(path: Path, lines: int) -> None:
    journal = Journal.create(str(path))
    journal.add_lines(
        [NewLine(index, LineRow(index, 1, zlib.crc32(b"x"), 0, index + 1)) for index in range(lines)]
    )
    journal.accept(Plan(lines, (), array("I")), {})
    journal.set_phase(Phase.IN_PROGRESS, {})
    journal.close()


def child(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: "subprocess.Popen[str]") -> str:
    """What a child printed that must have ended well."""
    out, err = process.communicate(timeout=CHILD_S)
    assert process.returncode == 0, f"exit {process.returncode}: {err}"
    return out


OPEN = """
import sys
from batchd.edges.journal import Journal
from batchd.errors import JournalError
try:
    Journal.open(sys.argv[1]).close()
except JournalError as error:
    print(error.message)
"""


@pytest.mark.parametrize("left", [0.02, 0.5, 0.8])
def test_a_torn_journal_is_refused_and_kills_nobody(tmp_path: Path, left: float) -> None:
    make(tmp_path / "journal", 5000)
    file = tmp_path / "journal" / "data.mdb"
    with file.open("r+b") as torn:
        torn.truncate(int(file.stat().st_size * left))
    assert output_of(child(OPEN, str(tmp_path / "journal"))).strip()


INTAKE = """
import sys
from pathlib import Path
from batchd.core.record import LineRow, NewLine
from batchd.edges.journal import Journal

def anonymous_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])

journal = Journal.create(sys.argv[1])
before = anonymous_kb()
for start in range(0, 170_000, 5000):
    run = range(start, start + 5000)
    assert not journal.claim_custom_ids([f"request-{index}" for index in run], start)
    journal.add_lines([NewLine(index, LineRow(9000 * index, 9000, index, 0, index + 1)) for index in run])
print(anonymous_kb() - before, journal.progress().total)
"""


def test_the_intake_of_170000_lines_takes_less_than_30_megabytes_of_memory(tmp_path: Path) -> None:
    grown_kb, total = map(int, output_of(child(INTAKE, str(tmp_path / "journal"))).split())
    assert total == 170_000
    assert grown_kb < 30_000


ANSWER = """
import asyncio, os, sys
from batchd.core.fault import Category
from batchd.core.record import Outcome
from batchd.edges.journal import Journal

journal = Journal.open(sys.argv[1])
journal.forget_intents()
pending = (index for index, done in enumerate(journal.finished()) if not done)

async def lane():
    for index in pending:
        await journal.intend([index])
        if index % 7 == 0:
            await journal.record(Outcome(index, None, category=Category.OOM, attempts=1))
        await journal.record(Outcome(index, b"answer %d" % index * 40))
        os.write(1, b"%d\\n" % index)

async def main():
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(lane())

asyncio.run(main())
"""


def test_a_kill_loses_no_acknowledged_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    make(path, 20_000)
    chance = random.Random(20)
    acknowledged: list[int] = []
    for _ in range(10):
        process = child(ANSWER, str(path))
        assert process.stdout is not None
        acknowledged += [int(process.stdout.readline()) for _ in range(chance.randrange(1, 400))]
        process.kill()
        rest, _ = process.communicate(timeout=CHILD_S)
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        journal = Journal.open(str(path))  # compares its counters with its rows
        kept = {index: line for index, _, line in journal.results()}
        journal.close()
        assert kept.keys() >= set(acknowledged)
        assert all(line == b"answer %d" % index * 40 for index, line in kept.items())
    assert len(acknowledged) == len(set(acknowledged)), "an acknowledged line was answered again"


FILL = """
import asyncio, os, resource, sys
from pathlib import Path
from batchd.core.record import Outcome
from batchd.edges.journal import Journal
from loguru import logger

path, way = sys.argv[1:]
logger.remove()
journal = Journal.open(path)
noise = os.urandom(8000)
room = asyncio.Event()
failures = []

def give_room():
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        Path(way).unlink()
    room.set()

async def lane(indices):
    for index in indices:
        await journal.record(Outcome(index, noise))
        os.write(1, b"%d %d\\n" % (index, room.is_set()))

async def main():
    loop = asyncio.get_running_loop()
    logger.add(lambda line: loop.call_soon_threadsafe(failures.append, str(line)))
    if way == "limit":
        there = (Path(path) / "data.mdb").stat().st_size + 1_000_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (there, resource.RLIM_INFINITY))
    indices = iter(range(600))
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(lane(indices))
        while len(failures) < 2:
            await asyncio.sleep(0.01)
        give_room()

asyncio.run(asyncio.wait_for(main(), 20))
journal.close()
"""


def assert_it_went_on(path: Path, output: str) -> None:
    """Every line was acknowledged once, some before there was room again and some after."""
    pairs = [line.split() for line in output.splitlines()]
    assert sorted(int(index) for index, _ in pairs) == list(range(600))
    assert {had_room for _, had_room in pairs} == {"0", "1"}
    journal = Journal.open(str(path))
    assert journal.progress().completed == sum(1 for _ in journal.results()) == 600
    journal.close()


def test_a_file_that_may_not_grow_holds_the_answers_back_until_it_may(tmp_path: Path) -> None:
    make(tmp_path / "journal", 600)
    assert_it_went_on(tmp_path / "journal", output_of(child(FILL, str(tmp_path / "journal"), "limit")))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield place
    # Lazily: a test that failed may have left files open, and a mount left behind would fail other tests.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_nothing_acknowledged_and_it_goes_on_when_there_is_space(small_disk: Path) -> None:
    make(small_disk / "journal", 600)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(14_000_000))  # leaves room for some of the answers, five megabytes in all
    assert_it_went_on(
        small_disk / "journal", output_of(child(FILL, str(small_disk / "journal"), str(ballast)))
    )
