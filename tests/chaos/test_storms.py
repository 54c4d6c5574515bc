"""Storms: SIGKILL of who writes a journal, and of the daemon, whose model server dies, hangs and starves too.

SUMMARY
    BATCHD_TEST_JOURNAL_KILLS, BATCHD_TEST_BLOWS: how many. BATCHD_TEST_SEED: where chance begins.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from array import array
from dataclasses import asdict
from pathlib import Path

import pytest

from batchd.core.fault import Category
from batchd.core.lifecycle import Phase
from batchd.core.record import LineRow, NewLine, Outcome, Plan
from batchd.edges.journal import Journal
from tests.chaos.nursery import ROOT, Nursery
from tests.chaos.tally import Books, tally
from tests.chaos.world import World

JOURNAL_KILLS = int(os.environ.get("BATCHD_TEST_JOURNAL_KILLS", "100"))
BLOWS = int(os.environ.get("BATCHD_TEST_BLOWS", "20"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: Lines of one journal; when all are answered, another is begun.
LINES = 3_000
LANES = 8


# --- the journal -----------------------------------------------------------------------------------------


def answer(index: int) -> bytes:
    return b"answer %d" % index * (1 + index % 90)


async def answer_all(journal: Journal, acknowledged: int) -> None:
    """Lanes that tell each acknowledged index, for the one who will kill them."""
    pending = (index for index, done in enumerate(journal.finished()) if not done)

    async def lane() -> None:
        for index in pending:
            await journal.intend([index])
            if index % 7 == 0:
                await journal.record(Outcome(index, None, category=Category.OOM, attempts=1))
            await journal.record(Outcome(index, answer(index)))
            os.write(acknowledged, b"%d\n" % index)

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())


def new_journal(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    journal = Journal.create(str(path))
    rows = [NewLine(index, LineRow(index, 1, zlib.crc32(b"x"), 0, index + 1)) for index in range(LINES)]
    journal.add_lines(rows)
    journal.accept(Plan(LINES, (), array("I")), {})
    journal.set_phase(Phase.IN_PROGRESS, {})
    journal.close()


def storm(folder: str, kills: int, seed: int) -> None:
    """In a process of its own, which forks one writer after the other and kills it."""
    chance, path, told = random.Random(seed), Path(folder) / "journal", Path(folder) / "acknowledged"
    books = Books()
    try:
        killed_again_and_again(path, told, chance, kills, books)
    finally:
        print(json.dumps(asdict(books)))


def killed_again_and_again(path: Path, told: Path, chance: random.Random, kills: int, books: Books) -> None:
    new_journal(path)
    told.write_bytes(b"")
    kept: dict[int, bytes] = {}
    for _ in range(kills):
        writer = os.fork()
        if writer == 0:
            descriptor = os.open(told, os.O_WRONLY | os.O_APPEND)
            journal = Journal.open(str(path))
            journal.forget_intents()
            asyncio.run(answer_all(journal, descriptor))
            os._exit(0)
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        books.blows += 1
        acknowledged = [int(line) for line in told.read_bytes().splitlines(keepends=True) if b"\n" in line]
        journal = Journal.open(str(path))  # compares its counters with its rows
        before, kept = len(kept), {index: line for index, _, line in journal.results()}
        journal.close()
        books.requests += len(kept) - before
        books.lost += len(set(acknowledged) - kept.keys())
        books.recomputed += len(acknowledged) - len(set(acknowledged))
        assert kept.keys() >= set(acknowledged), "an acknowledged answer is gone"
        assert len(acknowledged) == len(set(acknowledged)), "an acknowledged line was answered again"
        assert all(line == answer(index) for index, line in kept.items())
        if len(kept) == LINES:
            kept = {}
            new_journal(path)
            told.write_bytes(b"")


@pytest.mark.timeout(60 + JOURNAL_KILLS)
def test_kills_of_the_journal_take_no_acknowledged_answer_back(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.chaos.test_storms import storm; storm(sys.argv[1], *map(int, sys.argv[2:]))"
    )
    with tally("journal kills", SEED, Books()) as books:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(JOURNAL_KILLS), str(SEED)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=55 + JOURNAL_KILLS,
            check=False,
        )
        for name, count in json.loads(done.stdout or "{}").items():
            setattr(books, name, count)
        assert done.returncode == 0, f"seed {SEED}\n{done.stderr[-4000:]}"
        assert books.blows == JOURNAL_KILLS
        assert books.requests > 0, "nothing was answered between the kills"


# --- the daemon and its model server ---------------------------------------------------------------------

#: How long a starved or absent model server stays so: longer than a request, shorter than anybody's patience.
TROUBLE_S = 0.3


def strike(world: World, blow: str) -> None:
    match blow:
        case "kill the daemon":
            world.kill()
            world.start()
        case "kill the runner":
            world.server.fault("kill")
        case "hang the runner":
            world.server.fault("hang")
        case "no memory":
            world.server.fault("memory", 1)
            world.server.fault("kill")
            time.sleep(TROUBLE_S)
            world.server.fault("memory", 0)
        case "busy":
            world.server.fault("busy", 5)
        case "no server":
            world.server.fault("down", TROUBLE_S)
            time.sleep(2 * TROUBLE_S)  # the next blow must find it
        case _:
            raise AssertionError(blow)


BLOWS_OF_CHANCE = (
    *("kill the daemon",) * 5,
    *("kill the runner", "hang the runner", "no memory", "busy", "no server"),
)


@pytest.mark.timeout(90 + 6 * BLOWS)
def test_blows_on_the_daemon_and_its_server_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    settings = {"BATCHD_REQUEST_TIMEOUT_S": "2", "BATCHD_ATTEMPTS_MAX": "20"}
    with (
        Nursery() as nursery,
        World(tmp_path, nursery, delay_s=0.02, settings=settings) as world,
        tally("daemon kills", SEED, world.books),
        tally("model server blows", SEED, Books()) as books,
    ):
        world.start()
        for number in range(BLOWS):
            if number % 3 == 0:
                world.drop(chance.randint(60, 160))
            time.sleep(chance.uniform(0.05, 0.5))
            strike(world, blow := chance.choice(BLOWS_OF_CHANCE))
            books.blows += blow != "kill the daemon"
        world.finish(60 + 3 * BLOWS)
        world.check()
        assert world.books.blows, f"seed {SEED}: the daemon was never killed"
