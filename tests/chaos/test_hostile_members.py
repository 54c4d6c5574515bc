"""A hostile member of the submit group at the claim: what others hand in becomes one batch each, whole.

SUMMARY
    The real spool, intake and recovery with the rights of the service's user; the spool is laid out as its
    tmpfiles snippet does, and the members are users of their own. Each race is two acts of the hostile one at
    two moments of chance in one claim and its copy, at his own bait or at another's file. Now and then the
    daemon ends and begins again. BATCHD_TEST_RACES is how many, BATCHD_TEST_SEED where chance begins.

    Whatever the intake or the recovery raises would have ended the daemon, and ends the test.

DIAGNOSTICS
    None: tests.
"""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd import failpoints
from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.core.summary import from_meta
from batchd.daemon.intake import Intake
from batchd.daemon.recovery import recover
from batchd.edges.clock import SystemClock
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool
from tests.batches import request_line
from tests.chaos import members
from tests.chaos.tally import Books, tally
from tests.fakes.users import ALICE, DAEMON, MALLORY, Other, acting_as, another, needs_root, shared_spool

RACES = int(os.environ.get("BATCHD_TEST_RACES", "60"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261129"))

#: Where an act comes in between; the first ones are passed by every claim that is begun.
MOMENTS = (
    *("claim.begun", "claim.directory_made", "claim.orig_made", "claim.place_synced", "claim.renamed"),
    *("claim.orig_synced", "claim.done", "options.begun", "options.done"),
    *("copy.begun", "copy.made", "copy.written", "copy.synced"),
)

#: Races between two starts of the daemon; between two times that the hostile one tidies up after himself.
RESTART_EACH, TIDY_EACH = 40, 15

#: Turns at the end, until nothing is left to do.
TURNS_MAX = 200


class Daemon:
    """Recovers, claims, reads, and puts away; its book is what became a batch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.taken: list[tuple[str, dict[str, str] | None]] = []  # SHA-256 of the copy, metadata
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self.spool = Spool.open(self.root)
        self.intake = Intake(
            self.spool,
            SystemClock(),
            Rules(slots=1, settle_s=0.0),
            Space(0),  # a RAM disk may be small; how full it is, is not the question here
            Journal.create,
            self._new_id,
        )
        for batch_id in recover(self.spool, Journal.open).intake:
            self.intake.enter(batch_id, is_accepted=False)

    def restart(self) -> None:
        self.spool.close()
        self._begin()

    def turn(self) -> None:
        """One sweep, and all that is due."""
        self.intake.sweep(16)
        for batch_id in self.intake.due():
            batch = self.intake.accept(batch_id)
            if batch is None:
                continue
            with batch.input:
                digest = hashlib.sha256(batch.input.read()).hexdigest()
            facts = from_meta(batch.journal.meta())
            self.taken.append((digest, None if facts.refusals else dict(facts.options.metadata or {})))
            batch.journal.close()
            self.spool.archive(batch_id)
            self.spool.discard(batch_id)
            self.spool.empty_trash(batch_id)
            self.intake.leave(batch_id)

    def _new_id(self) -> str:
        self._number += 1
        return f"batch_{self._number:032x}"


class Race:
    """Two acts at two moments, each once. `blows` counts those that were reached."""

    def __init__(self, mallory: Other, inbox: Path, chance: random.Random) -> None:
        self._mallory, self._inbox, self._chance = mallory, inbox, chance
        self._acts: dict[str, str] = {}
        self.name = ""
        self.struck: Counter[str] = Counter()

    def begin(self, name: str) -> None:
        self.name = name
        self._acts = {
            moment: self._chance.choice(list(members.ACTS)) for moment in self._chance.sample(MOMENTS, 2)
        }
        if self._chance.random() < 0.2:
            self._acts = {"claim.place_synced": "open directory", "claim.renamed": "nail down"}

    def reach(self, moment: str) -> None:
        act = self._acts.pop(moment, "")
        if act:
            self.struck[act] += 1
            self._mallory.do(members.harm, act, self._inbox, self.name)


@pytest.fixture
def quiet() -> Iterator[None]:
    logger.disable("batchd")
    yield
    logger.enable("batchd")
    failpoints.arm(None)


@needs_root
@pytest.mark.timeout(120 + RACES)
def test_no_race_at_the_claim_loses_doubles_or_changes_another_members_batch(quiet: None) -> None:
    with (
        tally("hostile members", SEED, Books()) as books,
        shared_spool() as root,
        another(MALLORY) as mallory,
        another(ALICE) as alice,
    ):
        race_and_judge(root, mallory, alice, books)


def race_and_judge(root: Path, mallory: Other, alice: Other, books: Books) -> None:
    chance = random.Random(SEED)
    outside, inbox = root.parent / "hers", root / "inbox"
    outside.mkdir()
    os.chown(outside, ALICE, ALICE)
    race = Race(mallory, inbox, chance)
    handed_in: dict[str, dict[str, str]] = {}
    with acting_as(DAEMON):
        daemon = Daemon(root)
        failpoints.arm(race.reach)
        number = 0
        while race.struck.total() < RACES:
            number += 1
            assert number < 10 * RACES, "the races do not come to an end"
            name = f"hers-{number}.jsonl" if chance.random() < 0.4 else f"his-{number}.jsonl"
            if name.startswith("hers"):
                content = dropped(number)
                handed_in[hashlib.sha256(content).hexdigest()] = {"number": str(number)}
                options = {"metadata": {"number": str(number)}, "batch_id": f"batch_{number:016x}{'f' * 16}"}
                alice.do(members.drop, root, outside / name, name, content, options)
            else:
                mallory.do(members.bait, inbox, name, dropped(number))
            race.begin(name)
            books.ended = 1  # until the turn is over
            daemon.turn()
            books.ended = 0
            books.blows, books.requests = race.struck.total(), number
            if number % RESTART_EACH == 0:
                daemon.restart()
            if number % TIDY_EACH == 0:
                mallory.do(members.sweep_up, inbox)
        failpoints.arm(None)
        mallory.do(members.sweep_up, inbox)
        for _ in range(TURNS_MAX):
            daemon.turn()
            if not daemon.intake.waiting and not list(inbox.glob("hers-*.jsonl")):
                break
        daemon.spool.expire_archive(0.0, 1e12)
        left = set(daemon.spool.places()) - {waiting.batch_id for waiting in daemon.intake.waiting}
        daemon.restart()
        daemon.spool.close()
    lost, doubled, changed = judged(handed_in, daemon.taken)
    books.lost, books.doubled = len(lost) + len(changed), len(doubled)
    print(f"{len(daemon.taken)} batches, {len(handed_in)} of an honest member; {dict(race.struck)}")
    assert (lost, doubled, changed) == ([], [], []), f"seed {SEED}"
    assert left == set()  # his own that changed after the claim are looked at again, for up to a day
    assert len(handed_in) > RACES // 20


def dropped(number: int) -> bytes:
    row = request_line(number)
    row["custom_id"] = str(number)
    return json.dumps(row).encode() + b"\n"


def judged(
    handed_in: dict[str, dict[str, str]], taken: list[tuple[str, dict[str, str] | None]]
) -> tuple[list[str], list[str], list[str]]:
    """What of the honest member's was lost, doubled, or got other options than hers."""
    counts = Counter(digest for digest, _ in taken)
    lost = [digest for digest in handed_in if not counts[digest]]
    doubled = [digest for digest in handed_in if counts[digest] > 1]
    changed = [digest for digest, options in taken if digest in handed_in and options != handed_in[digest]]
    return lost, doubled, changed


def test_the_judge_sees_what_was_lost_doubled_or_changed() -> None:
    hers = {"a": {"number": "1"}}
    assert judged(hers, [("a", {"number": "1"}), ("b", None)]) == ([], [], [])
    assert judged(hers, []) == (["a"], [], [])
    assert judged(hers, [("a", {"number": "1"}), ("a", {"number": "1"})]) == ([], ["a"], [])
    assert judged(hers, [("a", {})]) == ([], [], ["a"])
    assert judged(hers, [("a", None)]) == ([], [], ["a"])
