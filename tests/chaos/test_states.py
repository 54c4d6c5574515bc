"""The table S1 to S7 under random steps and deaths: the real spool, journals, intake, publisher and recovery.

SUMMARY
    One process plays the daemon, step by step. A death comes between two steps, or inside one, at the n-th
    failpoint that it passes. The model is a mapping: of each batch what was acknowledged, line by line.
    BATCHD_TEST_EXAMPLES and BATCHD_TEST_STEPS are how much of it, BATCHD_TEST_SEED where chance begins.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from loguru import logger

from batchd import failpoints
from batchd.core.fault import Category
from batchd.core.lifecycle import Phase
from batchd.core.model import Answer, Source, Usage
from batchd.core.record import Outcome, Spent
from batchd.core.request import Endpoint, Message, Request
from batchd.core.result import request_id, result_line
from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.core.summary import facts_of, from_meta
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch
from batchd.daemon.ports import Journal as JournalPort
from batchd.daemon.publisher import Publisher
from batchd.daemon.recovery import recover
from batchd.edges.clock import SystemClock
from batchd.edges.journal import Journal, Retry
from batchd.edges.spool import Spool, final_name, submit_file
from tests.chaos.checker import problems_of
from tests.chaos.tally import Books, tally

EXAMPLES = int(os.environ.get("BATCHD_TEST_EXAMPLES", "25"))
STEPS = int(os.environ.get("BATCHD_TEST_STEPS", "30"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

BOOKS = Books()

#: What is in memory needs no disk that syncs; the power cuts prove the syncs.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
ONCE = Retry(tries=1)
SPENT = Spent(prompt_tokens=7, completion_tokens=3, cached_tokens=2)


#: Half of the steps come to their end.
DEATHS = st.one_of(st.just(0), st.integers(1, 12))
LATE_DEATHS = st.one_of(st.just(0), st.integers(1, 45))


class Death(BaseException):
    """In place of a SIGKILL; nothing in the product catches it."""


class Way(Enum):
    """How an attempt goes."""

    ENDS = auto()
    FAILS = auto()
    NOBODY_WAITS = auto()


@dataclass
class Expected:
    """One batch as the submitter and the ledger know it."""

    ids: list[str]
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)  # recorded, and nobody was told
    is_collected: bool = False


def request(custom_id: str, is_bad: bool) -> dict[str, object]:
    body = {"model": "m", "messages": [{"role": "user", "content": custom_id}], "max_tokens": 1}
    if is_bad:
        body["n"] = 2
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def answered(batch_id: str, index: int, custom_id: str, number: int) -> bytes:
    asked = Request(custom_id, Endpoint.CHAT, "m", (Message("user", custom_id),), (), {}, 1)
    answer = Answer(f"answer {number}", None, "stop", Usage(7, 3, 2, Source.ENGINE, 0.1, 0.1))
    return result_line(asked, answer, request_id(batch_id, index), 2e9)


class SpoolMachine(RuleBasedStateMachine):
    """Submitter, daemon, collector and death."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="batchd-states-", dir=MEMORY))
        self.expected: dict[str, Expected] = {}
        self.numbers = itertools.count(1)
        self.held: dict[str, Batch] = {}
        self.claimed: list[str] = []
        self.is_alive = self.is_dying = False

    @initialize()
    def begin(self) -> None:
        self.live()

    def teardown(self) -> None:
        failpoints.arm(None)
        self.forget()
        shutil.rmtree(self.folder)

    # --- life and death ---

    def live(self) -> None:
        """A start: recovery, as the house does it."""
        self.spool = Spool.open(self.folder / "spool")
        self.is_alive = True
        self.loop = asyncio.Runner()  # one for all journals of a life, as in the daemon
        self.publisher = Publisher(self.spool)
        space = Space(10**12, reserve_bytes=0)
        self.intake = Intake(
            self.spool,
            SystemClock(),
            Rules(slots=1, settle_s=0.0),
            space,
            lambda path: self.opened(Journal.create(path, ONCE)),
            lambda: f"batch_{next(self.numbers):032x}",
        )
        recovered = recover(self.spool, lambda path: self.opened(Journal.open(path, ONCE)))
        for batch_id in recovered.publish:
            batch = self.hold(batch_id)
            if self.publisher.is_sealed(batch):
                self.publisher.finish(batch)
                self.publisher.delete(batch)
                del self.held[batch_id]
            else:
                self.publisher.unseal(batch)
        for batch_id in recovered.work:
            self.hold(batch_id)
            self.intake.enter(batch_id, is_accepted=True)
        for batch_id in recovered.intake:
            self.intake.enter(batch_id, is_accepted=False)
        self.claimed = list(recovered.intake)

    def opened(self, journal: Journal) -> Journal:
        self.journals.append(journal)
        return journal

    @property
    def journals(self) -> list[Journal]:
        return self.__dict__.setdefault("_journals", [])  # type: ignore[no-any-return]  # a list, made here

    def hold(self, batch_id: str) -> Batch:
        journal = self.opened(Journal.open(self.spool.journal_path(batch_id), ONCE))
        journal.forget_intents()
        batch = Batch(
            batch_id, self.spool.original_name(batch_id) or b"", journal, self.spool.open_input(batch_id)
        )
        self.held[batch_id] = batch
        return batch

    def forget(self) -> None:
        """All that a dead process had in memory. LMDB wants to be closed before it is opened again."""
        for journal in self.journals:
            journal.close()
        self.journals.clear()
        for batch in self.held.values():
            batch.input.close()
        self.held.clear()
        if self.is_alive:
            self.is_alive = False
            self.loop.close()
            self.spool.close()
            # Only now: an auditor must not open journals that its own process has open.
            assert problems_of(self.folder / "spool") == []

    def step(self, action: Callable[[], object], dies_at: int) -> None:
        """Do it, or die at the n-th failpoint of it. Unlike a kill, that death tidies up on its way out, and
        may trip over itself there."""
        left = dies_at

        def on_reach(name: str) -> None:
            nonlocal left
            left -= name != "commit.told"  # after "commit.done" nothing more becomes of a group
            if left == 0:
                self.is_dying = True
                raise Death(name)

        self.is_dying = False
        failpoints.arm(on_reach if dies_at else None)
        try:
            action()
        except BaseException:
            if left > 0 or not dies_at:
                raise
        finally:
            failpoints.arm(None)
        if dies_at and left <= 0:
            BOOKS.blows += 1
            self.forget()
        if not self.is_alive:
            self.live()

    def let_it_write(self, journal: JournalPort) -> None:
        """Its thread is at rest: how much goes into one commit must not be a matter of chance."""
        while journal.pulse is not None and not self.is_dying:
            time.sleep(0.0002)

    # --- the submitter ---

    @precondition(lambda self: len(self.names_in("inbox")) < 2 and len(self.held) < 3)
    @rule(lines=st.lists(st.booleans(), min_size=1, max_size=4))
    def drop(self, lines: list[bool]) -> None:
        batch_id = f"batch_{next(self.numbers):032x}"
        ids = [f"{batch_id[-4:]}-{number}" for number in range(len(lines))]
        source = self.folder / "handed.jsonl"
        rows = (json.dumps(request(custom_id, is_bad)) for custom_id, is_bad in zip(ids, lines, strict=True))
        source.write_text("".join(f"{row}\n" for row in rows))
        submit_file(self.folder / "spool", source, f"{batch_id[-4:]}.jsonl", {"batch_id": batch_id})
        self.expected[batch_id] = Expected(ids)
        BOOKS.requests += len(ids)

    @precondition(lambda self: self.names_in("outbox"))
    @rule()
    def collect(self) -> None:
        for batch_id, expected in self.expected.items():
            for result in (self.folder / "spool" / "outbox").glob(f"*.{batch_id}"):
                self.check_result(batch_id, result)
                shutil.rmtree(result)
                expected.is_collected = True

    def names_in(self, room: str) -> list[str]:
        return [path.name for path in (self.folder / "spool" / room).iterdir()]

    # --- the daemon ---

    @precondition(lambda self: self.names_in("inbox"))
    @rule(dies_at=DEATHS)
    def claim(self, dies_at: int) -> None:
        def sweep_twice() -> None:
            self.intake.sweep(16)  # the first time a file is only seen
            self.claimed.extend(self.intake.sweep(16))

        self.step(sweep_twice, dies_at)

    @precondition(lambda self: self.claimed)
    @rule(dies_at=LATE_DEATHS)
    def accept(self, dies_at: int) -> None:
        def take() -> None:
            batch_id = self.claimed[0]
            batch = self.intake.accept(batch_id)
            if batch is not None:
                self.claimed.remove(batch_id)
                self.held[batch_id] = batch

        self.step(take, dies_at)

    @precondition(lambda self: self.pending())
    @rule(data=st.data(), dies_at=LATE_DEATHS, ways=st.lists(st.sampled_from(Way), min_size=1, max_size=4))
    def answer(self, data: st.DataObject, dies_at: int, ways: list[Way]) -> None:
        """Some requests of one batch are tried."""
        batch, indices = data.draw(st.sampled_from(self.pending()))
        expected = self.expected[batch.id]

        async def attempt(index: int, way: Way) -> None:
            line = answered(batch.id, index, expected.ids[index], next(self.numbers))
            await batch.journal.intend([index])
            match way:
                case Way.FAILS:
                    await batch.journal.record(Outcome(index, None, False, Category.TIMEOUT, attempts=1))
                case Way.NOBODY_WAITS:
                    batch.journal.record(Outcome(index, line, spent=SPENT)).cancel()
                case Way.ENDS:
                    await batch.journal.record(Outcome(index, line, spent=SPENT))
                    # The first result of a line wins, be it one that nobody waited for.
                    expected.acknowledged.setdefault(index, b"" if index in expected.unsure else line)
            if way is Way.NOBODY_WAITS:
                expected.unsure.add(index)
                self.let_it_write(batch.journal)

        def work() -> None:
            if batch.journal.phase() is Phase.READY:
                batch.journal.set_phase(Phase.IN_PROGRESS, {})
            for index, way in zip(indices, ways, strict=False):
                self.loop.run(attempt(index, way))

        self.step(work, dies_at)

    @precondition(lambda self: self.finished())
    @rule(data=st.data(), dies_at=LATE_DEATHS)
    def publish(self, data: st.DataObject, dies_at: int) -> None:
        batch = data.draw(st.sampled_from(self.finished()))

        def end() -> None:
            given = from_meta(batch.journal.meta())
            facts = facts_of(batch.id, given, batch.journal.progress(), "completed", {"completed_at": 2e9})
            metrics: dict[str, object] = {"version": 1, "provenance": {"input": {"sha256": given.sha256}}}
            self.publisher.assemble(
                batch, final_name(batch.name, batch.id), facts, metrics, "<!doctype html>"
            )
            self.publisher.finish(batch)
            self.publisher.delete(batch)
            del self.held[batch.id]

        self.step(end, dies_at)

    def pending(self) -> list[tuple[Batch, list[int]]]:
        """Batches with requests to send, and which."""
        found = []
        for _, batch in sorted(self.held.items()):
            indices = [index for index, done in enumerate(batch.journal.finished()) if not done]
            if indices and batch.journal.phase() is not Phase.PUBLISHING:
                found.append((batch, indices))
        return found

    def finished(self) -> list[Batch]:
        """Batches with all their outcomes, to be published."""
        held = [batch for _, batch in sorted(self.held.items())]
        return [
            batch
            for batch in held
            if batch.journal.phase() is Phase.IN_PROGRESS and all(batch.journal.finished())
        ]

    @precondition(lambda self: self.held or self.claimed)
    @rule(dies_at=st.integers(1, 25))
    def die(self, dies_at: int) -> None:
        """Between two steps; the next life may die in its recovery."""
        BOOKS.blows += 1
        self.forget()
        self.step(self.live, dies_at)

    # --- what is always true ---

    @invariant()
    def nothing_is_lost_or_in_two_places(self) -> None:
        root = self.folder / "spool"
        if not self.is_alive:
            return
        for batch_id, expected in self.expected.items():
            waits = (root / "inbox" / f"{batch_id[-4:]}.jsonl").exists()
            results = list((root / "outbox").glob(f"*.{batch_id}"))
            places = waits + (root / "processing" / batch_id).exists() + len(results)
            assert places == 1 or (places == 0 and expected.is_collected), f"{batch_id}: {places} places"
            assert not (expected.is_collected and results), f"{batch_id} was published twice"
            for result in results:
                self.check_result(batch_id, result)
            if batch_id in self.held:
                kept = {index: line for index, _, line in self.held[batch_id].journal.results()}
                assert expected.acknowledged.keys() <= kept.keys()
                assert all(line in (b"", kept[index]) for index, line in expected.acknowledged.items())

    def check_result(self, batch_id: str, result: Path) -> None:
        expected = self.expected[batch_id]
        files = (result / "output.jsonl", result / "errors.jsonl")
        lines = [line for path in files if path.exists() for line in path.read_bytes().splitlines()]
        ids = [json.loads(line)["custom_id"] for line in lines]
        assert sorted(ids) == sorted(expected.ids)
        assert set(expected.acknowledged.values()) - {b""} <= set(lines)


@pytest.mark.timeout(60 + EXAMPLES * STEPS // 10)
def test_whatever_comes_in_whatever_order_nothing_is_lost_or_doubled() -> None:
    logger.disable("batchd")
    try:
        with tally("state machine", SEED, BOOKS):
            run_state_machine_as_test(
                seed(SEED)(SpoolMachine),
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    print_blob=True,
                ),
            )
    finally:
        logger.enable("batchd")
