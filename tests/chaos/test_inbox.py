"""Many submitters at one inbox, in all the ways that files are dropped: each file becomes one batch, whole.

SUMMARY
    The real spool and intake; settled files are claimed, read, and put away. BATCHD_TEST_DROPS is how many
    drops, BATCHD_TEST_SEED where chance begins. A copy that is dropped whole or not at all is no trouble; the
    others show their parts under the final name, and only a writer that has it open, or time, tells.

DIAGNOSTICS
    None: tests.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.daemon.intake import Intake
from batchd.edges.clock import SystemClock
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool
from tests.chaos.nursery import ROOT
from tests.chaos.tally import Books, tally

DROPS = int(os.environ.get("BATCHD_TEST_DROPS", "300"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

SUBMITTERS = 3
SETTLE_S = 0.5
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="batchd-inbox-", dir=MEMORY))
    yield place
    shutil.rmtree(place)


class Daemon:
    """Claims, reads, and puts away; its book is what became a batch."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool.open(folder / "spool")
        numbers = iter(range(10**9))
        self.intake = Intake(
            self.spool,
            SystemClock(),
            Rules(slots=1, settle_s=SETTLE_S),
            Space(0),  # a RAM disk may be small; how full it is, is not the question here
            Journal.create,
            lambda: f"batch_{next(numbers):032x}",
        )
        self.taken: list[tuple[str, str]] = []  # (SHA-256 of the copy, batch id)

    def turn(self) -> bool:
        """One sweep, and all that is due; whether there was anything to do."""
        claimed = self.intake.sweep(16)
        due = self.intake.due()
        for batch_id in due:
            batch = self.intake.accept(batch_id)
            if batch is None:
                continue
            self.taken.append((hashlib.sha256(batch.input.read()).hexdigest(), batch_id))
            batch.journal.close()
            batch.input.close()
            self.spool.archive(batch_id)
            self.spool.discard(batch_id)
            self.spool.empty_trash(batch_id)
            self.intake.leave(batch_id)
        return bool(claimed or due or self.intake.waiting)


@pytest.mark.timeout(120 + DROPS)
def test_every_dropped_file_becomes_one_batch_and_none_is_claimed_early(folder: Path) -> None:
    with tally("inbox drops", SEED, Books()) as books:
        drop_and_judge(folder, books)


def drop_and_judge(folder: Path, books: Books) -> None:
    logger.disable("batchd")
    daemon = Daemon(folder)
    papers = []
    submitters = []
    for number in range(SUBMITTERS):
        outside, book = folder / f"outside-{number}", folder / f"book-{number}"
        outside.mkdir()
        papers.append(book)
        arguments = [folder / "spool" / "inbox", outside, book, DROPS // SUBMITTERS, SEED + number, SETTLE_S]
        command = [sys.executable, "-m", "tests.chaos.submitters", *map(str, arguments)]
        submitters.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}))
    until = time.perf_counter() + 60 + DROPS / 2
    idle_since = time.perf_counter()
    while any(submitter.poll() is None for submitter in submitters) or (
        time.perf_counter() < idle_since + 4 * SETTLE_S
    ):
        assert time.perf_counter() < until, "the submitters or the intake do not come to an end"
        if daemon.turn():
            idle_since = time.perf_counter()
        time.sleep(0.01)
    daemon.spool.close()
    logger.enable("batchd")
    assert [submitter.returncode for submitter in submitters] == [0] * SUBMITTERS
    left = {path.name for path in (folder / "spool" / "inbox").iterdir()}
    assert left <= {".~tmp~", ".partial"}
    booked = [json.loads(line) for book in papers for line in book.read_text().splitlines()]
    lost, doubled, early, misnamed = judged(booked, daemon.taken)
    books.blows, books.requests = len(booked), sum(entry["lines"] for entry in booked)
    books.lost, books.doubled, books.early_claims = len(lost), len(doubled), len(early)
    print(f"{len(daemon.taken)} batches; {dict(sorted(Counter(entry['way'] for entry in booked).items()))}")
    wrong = [*lost, *doubled, *early, *misnamed]
    assert not wrong, f"seed {SEED}: {lost=} {doubled=} {early=} {misnamed=}"
    fates = Counter(entry["fate"] for entry in booked)
    assert fates["slow"] <= len(booked) // 20, (
        "this machine is too slow for that settle time to mean anything"
    )
    assert fates["must"] > len(booked) // 2


def judged(booked: list[dict[str, Any]], taken: list[tuple[str, str]]) -> tuple[list[str], ...]:
    """The books compared: what was lost, doubled, claimed early, or got another id than was named."""
    counts = Counter(sha256 for sha256, _ in taken)
    must = {entry["sha256"]: entry for entry in booked if entry["fate"] == "must"}
    known = {entry["sha256"] for entry in booked}
    lost = [entry["way"] for sha256, entry in must.items() if not counts[sha256]]
    doubled = [sha256 for sha256, count in counts.items() if count > 1]
    early = sorted(counts.keys() - known)
    # The last part of a slow one may have become a file of its own, which is no content that anybody booked.
    may_be_parts = sum(entry["fate"] == "slow" for entry in booked)
    named = {entry["sha256"]: entry["batch_id"] for entry in booked if entry["batch_id"]}
    misnamed = [batch_id for sha256, batch_id in taken if named.get(sha256, batch_id) != batch_id]
    return lost, doubled, early[may_be_parts:], misnamed


def test_the_books_tell_of_each_kind_of_trouble() -> None:
    whole = {"sha256": "a", "fate": "must", "way": "cp", "batch_id": "1", "lines": 1}
    assert judged([whole], [("a", "1")]) == ([], [], [], [])
    assert judged([whole], []) == (["cp"], [], [], [])
    assert judged([whole], [("a", "1"), ("a", "1")]) == ([], ["a"], [], [])
    assert judged([whole], [("a", "1"), ("part of a", "2")]) == ([], [], ["part of a"], [])
    assert judged([whole], [("a", "2")]) == ([], [], [], ["2"])
