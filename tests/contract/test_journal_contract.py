"""What every journal promises: the one in memory and the real one.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import random
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchd.core.curve import Curve
from batchd.core.fault import Category, ModelFault, Rejected
from batchd.core.json import loads
from batchd.core.lifecycle import Phase
from batchd.core.record import (
    Copy,
    Event,
    Group,
    LineRow,
    NewLine,
    Outcome,
    Place,
    Plan,
    Progress,
    Share,
    Shares,
    Spent,
)
from batchd.core.rejection import parted
from batchd.core.result import model_fault_line, request_id
from batchd.core.schema import Breach, Reason
from batchd.daemon.ports import Journal as JournalPort
from batchd.edges.journal import Journal
from batchd.errors import JournalError
from tests.fakes.memory_journal import EVENTS_MAX, MemoryJournal

LINES = 10
FAULTY = 4
GROUP = Group("smollm2:135m", "/v1/chat/completions", 0, LINES - 1, 2000, 2304)
PLAN = Plan(LINES, (GROUP,), array("I", [9, 8, 7, 6, 5, 3, 2, 1, 0]))


def new_line(index: int, error_line: bytes | None = None) -> NewLine:
    row = LineRow(index * 100, 99, zlib.crc32(b"%d" % index), -1 if error_line else 0, index + 1)
    return NewLine(index, row, error_line)


def started(journal: JournalPort) -> JournalPort:
    """Ten lines, the fifth of them faulty, accepted and in progress."""
    journal.add_lines([new_line(index) for index in range(FAULTY)])
    journal.add_lines([new_line(FAULTY, b'{"error":1}'), *(new_line(i) for i in range(FAULTY + 1, LINES))])
    journal.accept(PLAN, {"sha256": "ab"})
    journal.set_phase(Phase.IN_PROGRESS, {})
    return journal


def content_of(line: bytes) -> dict[str, object]:
    found = loads(line)
    assert isinstance(found, dict)
    return found


class JournalContract:
    """Run on each journal that fits the port."""

    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[JournalPort]:
        raise NotImplementedError

    @pytest.fixture
    def journal(self, fresh: JournalPort) -> JournalPort:
        return started(fresh)

    def test_a_new_journal_has_no_phase_and_counts_nothing(self, fresh: JournalPort) -> None:
        assert fresh.phase() is None
        assert fresh.progress() == Progress(0, 0, 0, Spent(), {}, 0.0)
        assert fresh.meta() == {}
        assert fresh.finished() == bytearray()
        assert list(fresh.results()) == []
        with pytest.raises(JournalError):
            fresh.plan()

    def test_a_custom_id_belongs_to_the_first_line_that_has_it(self, fresh: JournalPort) -> None:
        assert fresh.claim_custom_ids(["a", "b", "a", None, None], 0) == {2}
        assert fresh.claim_custom_ids(["c", "b", None, "ä" * 500, "c"], 5) == {6, 9}

    def test_claiming_the_same_lines_again_changes_nothing(self, fresh: JournalPort) -> None:
        assert fresh.claim_custom_ids(["a", "b", "a"], 0) == {2}
        assert fresh.claim_custom_ids(["a", "b", "a"], 0) == {2}

    def test_lines_come_back_as_they_were_added_in_the_order_asked_for(self, journal: JournalPort) -> None:
        assert journal.read_lines([7, FAULTY, 0]) == [
            new_line(7).row,
            new_line(FAULTY, b"x").row,
            new_line(0).row,
        ]
        with pytest.raises(JournalError):
            journal.read_lines([0, LINES])

    async def test_answers_are_read_by_their_lines_and_errors_are_none(self, journal: JournalPort) -> None:
        await journal.record(Outcome(7, b'{"seven":7}'))
        await journal.record(Outcome(2, b'{"two":2}'))
        await journal.record(Outcome(3, b'{"three":3}', is_error=True))
        assert journal.read_answers([7, FAULTY, 3, 2, 0]) == {7: b'{"seven":7}', 2: b'{"two":2}'}
        assert journal.read_answers([]) == {}

    def test_a_line_index_that_leaves_a_gap_is_a_bug(self, fresh: JournalPort) -> None:
        fresh.add_lines([new_line(0)])
        with pytest.raises(AssertionError):
            fresh.add_lines([new_line(2)])

    def test_a_faulty_line_is_failed_from_the_start(self, journal: JournalPort) -> None:
        assert journal.progress() == Progress(LINES, 0, 1, Spent(), {"validation": 1}, 0.0)
        assert list(journal.results()) == [(FAULTY, True, b'{"error":1}')]
        assert [index for index, done in enumerate(journal.finished()) if done] == [FAULTY]
        assert journal.attempts() == {}

    def test_accept_keeps_plan_and_meta_and_makes_the_journal_ready(self, fresh: JournalPort) -> None:
        fresh.add_lines([new_line(index) for index in range(LINES)])
        fresh.accept(PLAN, {"name": "ünïcode.jsonl", "empty": ""})
        assert fresh.phase() is Phase.READY
        assert fresh.plan() == PLAN
        assert fresh.meta() == {"name": "ünïcode.jsonl", "empty": ""}

    def test_a_plan_of_many_groups_and_blocks_comes_back(self, fresh: JournalPort) -> None:
        numbers = list(range(10_000))
        random.Random(4).shuffle(numbers)
        groups = tuple(Group(f"m{n}", "/v1/embeddings", 10 * n, 10, n, 256) for n in range(1000))
        plan = Plan(10_000, groups, array("I", numbers))
        fresh.accept(plan, {})
        assert fresh.plan() == plan

    def test_phases_go_only_along_the_table(self, journal: JournalPort) -> None:
        with pytest.raises(AssertionError):
            journal.set_phase(Phase.IN_PROGRESS, {})
        with pytest.raises(AssertionError):
            journal.accept(PLAN, {})
        journal.set_phase(Phase.PUBLISHING, {"name": "a.batch_1", "sha256": "cd"})
        assert journal.phase() is Phase.PUBLISHING
        assert journal.meta() == {"name": "a.batch_1", "sha256": "cd"}

    def test_only_accept_ends_the_intake(self, fresh: JournalPort) -> None:
        with pytest.raises(AssertionError):
            fresh.set_phase(Phase.READY, {})
        with pytest.raises(AssertionError):
            fresh.set_phase(Phase.IN_PROGRESS, {})
        assert fresh.phase() is None

    async def test_an_acknowledged_outcome_is_counted_and_there(self, journal: JournalPort) -> None:
        spent = Spent(2000, 50, 1990, 0.5, 1.5, 0, 1, 0, 0)
        await journal.record(Outcome(3, b'{"x":1}', attempts=1, spent=spent))
        assert journal.progress() == Progress(LINES, 1, 1, spent, {"validation": 1}, 0.0)
        assert journal.finished()[3] == 1
        assert (3, False, b'{"x":1}') in list(journal.results())

    async def test_the_first_result_of_a_line_wins(self, journal: JournalPort) -> None:
        first = journal.record(Outcome(3, b"first", spent=Spent(prompt_tokens=10)))
        second = journal.record(Outcome(3, b"second", True, Category.OOM, spent=Spent(prompt_tokens=10)))
        await first
        await second
        await journal.record(Outcome(FAULTY, b"late", spent=Spent(prompt_tokens=10)))
        assert list(journal.results()) == [(3, False, b"first"), (FAULTY, True, b'{"error":1}')]
        assert journal.progress() == Progress(LINES, 1, 1, Spent(prompt_tokens=10), {"validation": 1}, 0.0)

    async def test_a_copy_ends_with_its_original_and_costs_nothing(self, fresh: JournalPort) -> None:
        identity = request_id(f"batch_{'a' * 32}", 0)
        fault = ModelFault(Category.OOM, "too large", is_temporary=False)
        original = model_fault_line("a", 1, fault, identity)
        copies = [replace(new_line(index), copy=Copy(0, f"c{index}")) for index in (2, 3)]
        fresh.add_lines([new_line(0), new_line(1), *copies])
        plan = Plan(4, (replace(GROUP, count=2),), array("I", [0, 1]))
        fresh.accept(plan, {})
        assert fresh.plan() == replace(plan, copies={0: 2})
        await fresh.record(Outcome(0, None, False, Category.OOM, 1))
        assert list(fresh.results()) == []
        await fresh.record(Outcome(0, original, True, Category.OOM, 2, spent=Spent(7)))
        found = [
            (index, is_error, content_of(line)["custom_id"]) for index, is_error, line in fresh.results()
        ]
        assert found == [(0, True, "a"), (2, True, "c2"), (3, True, "c3")]
        assert fresh.progress() == Progress(4, 0, 3, Spent(7), {"oom": 4}, 0.0)
        assert fresh.finished() == bytearray([1, 0, 1, 1])
        assert fresh.attempts() == {}

    async def test_what_was_rejected_stands_below_the_error_line_of_each(self, fresh: JournalPort) -> None:
        rejected = Rejected(Breach(Reason.NOT_JSON, "no"), "no", None, "stop", 7, 3)
        fault = ModelFault(Category.INVALID_ANSWER, "no", is_temporary=False, rejected=rejected)
        original = model_fault_line("a", 1, fault, request_id(f"batch_{'a' * 32}", 0))
        fresh.add_lines([new_line(0), replace(new_line(1), copy=Copy(0, "c1"))])
        fresh.accept(Plan(2, (replace(GROUP, count=1),), array("I", [0])), {})
        spent = Spent(not_json_answers=1)
        await fresh.record(Outcome(0, original, True, Category.INVALID_ANSWER, 1, spent=spent))
        found = [parted(outcome) for _, _, outcome in fresh.results()]
        for (line, kept), name in zip(found, ("a", "c1"), strict=True):
            assert content_of(line)["custom_id"] == name
            assert content_of(kept or b"")["custom_id"] == name
        assert fresh.progress() == Progress(2, 0, 2, Spent(not_json_answers=2), {"invalid_answer": 2}, 0.0)

    async def test_answers_are_summed_by_group_by_lane_and_over_time(self, journal: JournalPort) -> None:
        assert journal.shares([0]) == Shares({}, {}, Curve())
        spent = Spent(100, 5, 90, 0.5, 1.5, cold_answers=1)
        for index, place in enumerate((Place(0, 1, 50.0), Place(7, 1, 51.5), Place(0, 2, 51.9))):
            await journal.record(Outcome(index, b"{}", spent=spent, place=place))
        await journal.record(Outcome(0, b"again", spent=spent, place=Place(0, 1, 60.0)))
        one, two = Share(1, 100, 90, 5, 1, 2.0), Share(2, 200, 180, 10, 2, 4.0)
        assert journal.shares([0, 3]) == Shares({0: two}, {1: two, 2: one}, Curve(50.0, 1.0, (1, 2)))
        assert journal.shares([7]).groups == {7: one}

    async def test_a_failed_attempt_after_the_result_changes_nothing(self, journal: JournalPort) -> None:
        await journal.record(Outcome(3, b"answer"))
        before = journal.progress()
        await journal.record(Outcome(3, None, category=Category.CRASH, attempts=2, crashes=1))
        assert journal.progress() == before
        assert journal.attempts() == {}
        assert journal.finished()[3] == 1

    async def test_a_failed_attempt_is_remembered_until_the_line_is_finished(
        self, journal: JournalPort
    ) -> None:
        oom = Category.OOM
        await journal.record(Outcome(3, None, category=oom, attempts=1, spent=Spent(prompt_tokens=5)))
        await journal.record(Outcome(3, None, category=Category.CRASH, attempts=2, crashes=1))
        await journal.record(Outcome(5, None, category=oom, attempts=1))
        assert journal.attempts() == {3: (2, 1), 5: (1, 0)}
        assert journal.finished()[3] == 0
        await journal.record(Outcome(3, b"answer", attempts=3, crashes=1))
        assert journal.attempts() == {5: (1, 0)}
        progress = journal.progress()
        assert progress.faults == {"validation": 1, "oom": 2, "crash": 1}
        assert (progress.completed, progress.failed, progress.spent.prompt_tokens) == (1, 1, 5)

    async def test_results_come_in_input_order_and_verbatim(self, journal: JournalPort) -> None:
        lines = {9: b"", 0: b"\xff\x00\n", 7: b"long " * 5000, 2: bytes(range(256)) * 20}
        for index, line in lines.items():
            await journal.record(Outcome(index, line, is_error=index == 7))
        lines[FAULTY] = b'{"error":1}'
        expected = [(index, index in (FAULTY, 7), lines[index]) for index in sorted(lines)]
        assert list(journal.results()) == expected

    async def test_an_outcome_takes_its_intent_away(self, journal: JournalPort) -> None:
        await journal.intend([0, 1, 2, 3])
        await journal.intend([3, 5])
        await journal.record(Outcome(1, b"answer"))
        await journal.record(Outcome(2, None, category=Category.NETWORK))
        assert journal.forget_intents() == 3
        assert journal.forget_intents() == 0

    async def test_an_outcome_whose_waiter_was_cancelled_is_kept(self, journal: JournalPort) -> None:
        journal.record(Outcome(1, b"one")).cancel()
        await journal.record(Outcome(2, b"two"))
        assert [index for index, _, _ in journal.results()] == [1, 2, FAULTY]

    @pytest.mark.parametrize("seed", range(8))
    async def test_counters_equal_a_recount_after_any_sequence(self, journal: JournalPort, seed: int) -> None:
        chance = random.Random(seed)
        expected: dict[int, bool] = {FAULTY: True}
        faults: dict[str, int] = {"validation": 1}
        tokens = 0
        waits: list[asyncio.Future[None]] = []
        for number in range(60):
            index = chance.randrange(LINES)
            line = chance.choice([None, b"line %d" % number])
            category = chance.choice([None, Category.OOM, Category.TIMEOUT])
            outcome = Outcome(index, line, chance.random() < 0.5, category, spent=Spent(number))
            waits.append(journal.record(outcome))
            if index not in expected:
                tokens += number
                if category is not None:
                    faults[category] = faults.get(category, 0) + 1
                if line is not None:
                    expected[index] = outcome.is_error
            if chance.random() < 0.3:
                await waits[-1]
        for wait in waits:
            await wait
        failed = sum(expected.values())
        assert journal.progress() == Progress(
            LINES, len(expected) - failed, failed, Spent(tokens), faults, 0.0
        )
        assert {index: is_error for index, is_error, _ in journal.results()} == expected
        assert {index for index, done in enumerate(journal.finished()) if done} == set(expected)

    async def test_events_come_back_oldest_first(self, journal: JournalPort) -> None:
        events = [Event(1.5, "chunk", "8", "4", "out of memory"), Event(2.5, "chunk", "4", "5", "grown: ä")]
        for event in events:
            journal.log_event(event)
        await journal.intend([0])
        assert list(journal.events()) == events

    async def test_only_the_newest_events_are_kept(self, journal: JournalPort) -> None:
        for number in range(EVENTS_MAX + 5):
            journal.log_event(Event(float(number), "chunk", "", "", ""))
            if number % 1000 == 0:
                await journal.intend([0])
        await journal.intend([0])
        events = journal.events()
        assert len(events) == EVENTS_MAX
        assert [events[0].at, events[-1].at] == [5.0, EVENTS_MAX + 4.0]

    async def test_worked_time_adds_up(self, journal: JournalPort) -> None:
        journal.add_worked(1.5)
        journal.add_worked(2.0)
        await journal.record(Outcome(0, b"x"))
        assert journal.progress().worked_s == 3.5

    async def test_what_nobody_waits_for_can_be_read_after_a_flush(self, journal: JournalPort) -> None:
        event = Event(1.5, "chunk", "8", "4", "out of memory")
        for _ in range(3):
            journal.add_worked(0.5)
            journal.note("uses", "one")
        journal.log_event(event)
        await asyncio.to_thread(journal.flush)
        assert journal.progress().worked_s == 1.5
        assert journal.meta()["uses"] == "one"
        assert list(journal.events()) == [event]

    async def test_a_note_is_a_meta_value_beside_the_others_and_the_last_one_stands(
        self, journal: JournalPort
    ) -> None:
        before = dict(journal.meta())
        journal.note("uses", "one")
        journal.note("uses", "two \u00d7")
        await journal.record(Outcome(0, b"x"))
        assert journal.meta() == {**before, "uses": "two \u00d7"}

    def test_a_closed_journal_takes_nothing_more(self, journal: JournalPort) -> None:
        journal.close()
        journal.close()
        with pytest.raises(AssertionError):
            journal.log_event(Event(0.0, "", "", "", ""))


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[JournalPort]:
        journal = MemoryJournal()
        yield journal
        journal.close()


class TestJournal(JournalContract):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[JournalPort]:
        journal = Journal.create(str(tmp_path / "journal"))
        yield journal
        journal.close()

    async def test_all_of_it_is_there_after_opening_it_again(
        self, journal: JournalPort, tmp_path: Path
    ) -> None:
        journal.claim_custom_ids(["a"], 0)
        journal.log_event(Event(1.0, "chunk", "8", "4", "out of memory"))
        journal.note("uses", "some")
        await journal.record(Outcome(3, b"answer", attempts=1, spent=Spent(7, 8, 9, 1.0, 2.0)))
        await journal.record(Outcome(5, None, category=Category.CRASH, attempts=1, crashes=1))
        await journal.intend([6])
        reads: list[Callable[[JournalPort], object]] = [
            lambda it: it.phase(),
            lambda it: it.meta(),
            lambda it: it.progress(),
            lambda it: it.plan(),
            lambda it: it.finished(),
            lambda it: it.attempts(),
            lambda it: it.read_lines(range(LINES)),
            lambda it: list(it.results()),
            lambda it: it.events(),
            lambda it: it.claim_custom_ids(["b", "a"], 5),
            lambda it: it.forget_intents(),
        ]
        before = [read(journal) for read in reads[:-1]]
        journal.close()
        again = Journal.open(str(tmp_path / "journal"))
        assert [read(again) for read in reads] == [*before, 1]
        again.close()
