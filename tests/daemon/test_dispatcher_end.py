"""The dispatcher's endings: drained, cancelled, expired, refused, begun again, and a journal that fails."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load, Loaded
from batchd.core.record import LineRow, Outcome
from batchd.core.rules import Rules
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.ledger import UNACKNOWLEDGED_MAX
from batchd.daemon.station import SPACE_CHECK_S
from batchd.errors import JournalError
from tests.daemon.bench import Bench
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import chat, embed, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import Script, ScriptedModel, answer, crash, hiccup, refused

CANCELLED = ModelFault(Category.CANCELLED, "cancelled", is_temporary=False)
EXPIRED = ModelFault(Category.EXPIRED, "expired", is_temporary=False)


def lines(count: int) -> list[dict[str, object]]:
    return [dict(chat(f"r{n}")) for n in range(count)]


async def test_a_drain_sends_nothing_new_and_records_what_runs() -> None:
    bench = Bench(lines(20), Script().holds(*(f"r{n}" for n in range(2, 20))))
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(4)
        bench.dispatcher.stop()
        bench.model.release()
    assert working.result() is False
    assert len(bench.model.sent) == 4
    assert bench.outcomes() == dict.fromkeys(bench.model.sent, "yes")


async def test_nothing_new_is_sent_while_the_disk_is_short_of_space_and_then_it_goes_on() -> None:
    answers = iter([True, True, False, False, False])  # then True
    bench = Bench(lines(5), Script().answers_at_once(), slots=1, may_send=lambda: next(answers, True))
    assert await bench.work()
    assert bench.clock.slept.count(SPACE_CHECK_S) == 3
    assert bench.outcomes() == {f"r{n}": "yes" for n in range(5)}


async def test_a_drain_ends_the_wait_for_space() -> None:
    bench = Bench(lines(5), slots=1, may_send=lambda: False)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await asyncio.sleep(0.01)
        bench.dispatcher.stop()
    assert working.result() is False
    assert bench.model.sent == []


async def test_a_drain_ends_the_wait_for_the_model() -> None:
    class Never(ScriptedModel):
        async def ensure(
            self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
        ) -> Loaded | ModelFault | None:
            while is_wanted():  # noqa: ASYNC110 - the test's own limit ends it
                await asyncio.sleep(0)
            return None

    model = Never()
    dispatcher = Dispatcher(
        made_batch(lines(2)), [model], FakeClock(), MemorySpool(), Rules(slots=1), lambda outcome: None
    )
    async with asyncio.TaskGroup() as group:
        working = group.create_task(dispatcher.work())
        await asyncio.sleep(0.01)
        dispatcher.stop()
    assert working.result() is False
    assert model.sent == []


async def test_a_drain_that_comes_while_a_retry_is_fetched_does_not_send_it() -> None:
    class Stopping(MemoryJournal):
        """The drain begins while the retry's row is read."""

        def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
            if self.attempts():
                bench.dispatcher.stop()
            return super().read_lines(indices)

    bench = Bench([chat("a")], Script().answers("a", hiccup(), answer()), slots=1, journal=Stopping())
    assert await bench.work() is False
    assert bench.model.sent == ["a"]


async def test_a_loss_that_comes_while_a_retry_is_fetched_does_not_charge_it() -> None:
    """The retry of `a` is being read when the server dies of `b`: `a` was never there."""
    script = Script().answers("a", hiccup(), answer()).answers("b", crash(), answer()).holds("b")

    class Losing(MemoryJournal):
        def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
            if self.attempts():
                asyncio.run_coroutine_threadsafe(lose(), loop).result(10)
            return super().read_lines(indices)

    async def lose() -> None:
        bench.model.release()
        while not bench.model.suspects:  # noqa: ASYNC110 - the lanes need the turns
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    bench = Bench([chat("a"), chat("b")], script, journal=Losing())
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes", "b": "yes"}
    assert bench.model.sent.count("a") == 2
    assert bench.batch.journal.progress().faults == {"server": 1, "crash": 1}


@pytest.mark.parametrize(("fault", "code"), [(CANCELLED, "batch_cancelled"), (EXPIRED, "batch_expired")])
async def test_closing_ends_what_is_pending_and_keeps_what_is_answered(fault: ModelFault, code: str) -> None:
    bench = Bench([*lines(12), embed("v")], Script().holds(*(f"r{n}" for n in range(12))))
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(2)
        bench.batch.closing = fault
        bench.model.release()
    assert working.result() is True
    expected = {f"r{n}": "yes" if f"r{n}" in bench.model.sent else code for n in range(12)}
    assert bench.outcomes() == {**expected, "v": code}
    assert len(bench.model.sent) == 2
    assert len(bench.model.loads) == 1


async def test_a_batch_that_is_closed_from_the_start_asks_for_no_model() -> None:
    bench = Bench(lines(600))
    bench.batch.closing = ModelFault(Category.VALIDATION, "failed", is_temporary=False, code="batch_failed")
    assert await bench.work()
    assert set(bench.outcomes().values()) == {"batch_failed"}
    assert bench.batch.journal.progress().failed == 600
    assert bench.model.loads == []


async def test_after_a_restart_only_what_is_unfinished_is_sent() -> None:
    first = Bench(lines(10), Script().holds("r2", "r6"))
    async with asyncio.TaskGroup() as group:
        working = group.create_task(first.work())
        await first.model.sent_to(5)
        working.cancel()  # a kill, as far as the journal can see
    answered = set(first.outcomes())
    assert 0 < len(answered) < 10
    second = Bench([], batch=first.batch)
    assert await second.work()
    assert set(second.model.sent) == {f"r{n}" for n in range(10)} - answered
    assert second.outcomes() == {f"r{n}": "yes" for n in range(10)}


async def test_a_finished_batch_is_not_loaded_again_after_a_restart() -> None:
    first = Bench(lines(3))
    await first.work()
    second = Bench([], batch=first.batch)
    assert await second.work()
    assert second.model.loads == []


async def test_attempts_and_suspicion_outlive_the_daemon() -> None:
    batch = made_batch(lines(6))
    for index, attempts, crashes in ((0, 2, 0), (1, 0, 2)):
        await batch.journal.record(Outcome(index, None, False, Category.SERVER, attempts, crashes))
    bench = Bench([], Script().answers("r0", hiccup()).poisons("r1"), batch=batch, slots=3)
    assert await bench.work()
    assert bench.outcomes()["r0"] == "server"
    assert bench.outcomes()["r1"] == "crash"
    assert bench.model.alone("r1") == [True]


async def test_a_journal_that_fails_stops_the_dispatcher() -> None:
    class Full(MemoryJournal):
        def record(self, outcome: Outcome) -> "asyncio.Future[None]":
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(JournalError("The disk is full."))
            return failed

    bench = Bench(lines(50), journal=Full())
    with pytest.raises(ExceptionGroup) as raised:
        await bench.work()
    assert raised.group_contains(JournalError, match="full")
    assert len(bench.model.sent) < 50
    assert bench.durable == []


class StuckJournal(MemoryJournal):
    """Acknowledges nothing until told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[asyncio.Future[None]] = []

    def record(self, outcome: Outcome) -> "asyncio.Future[None]":
        super().record(outcome)
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]

    def acknowledge(self) -> None:
        for future in self.pending:
            if not future.done():
                future.set_result(None)


async def test_lanes_stop_sending_while_too_many_answers_are_not_durable() -> None:
    journal = StuckJournal()
    bench = Bench(lines(300), slots=2, journal=journal)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(UNACKNOWLEDGED_MAX)
        await asyncio.sleep(0.05)
        assert len(bench.model.sent) <= UNACKNOWLEDGED_MAX + 1  # one for each slot but the last
        assert bench.durable == []
        while not working.done():
            journal.acknowledge()
            await asyncio.sleep(0.001)
    assert working.result()
    assert len(bench.outcomes()) == 300


async def test_a_drain_waits_for_what_is_not_durable_yet() -> None:
    journal = StuckJournal()
    bench = Bench(lines(4), slots=1, journal=journal)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(2)
        bench.dispatcher.stop()
        await asyncio.sleep(0.05)
        assert not working.done()
        journal.acknowledge()
    assert working.result() is False
    assert len(bench.durable) == 2


async def test_a_copy_ends_as_its_original_does_whatever_that_is() -> None:
    """Answered at the second try, refused for good, dead each time: nobody waits for a copy's own turn."""
    batch = made_batch(lines(6), copies={1: 0, 3: 2, 5: 4})
    script = Script().answers("r0", hiccup(), answer()).answers("r2", refused()).poisons("r4")
    bench = Bench([], script, batch=batch)
    async with asyncio.timeout(20):
        assert await bench.work()
    outcomes = bench.outcomes()
    assert [outcomes[f"r{n}"] for n in (0, 2, 4)] == [outcomes[f"r{n}"] for n in (1, 3, 5)]
    assert (outcomes["r0"], outcomes["r4"]) == ("yes", "crash")
    assert set(bench.model.sent) == {"r0", "r2", "r4"}
    progress = bench.batch.journal.progress()
    assert (progress.completed, progress.failed, progress.spent.deduplicated_answers) == (2, 4, 1)


async def test_a_copy_of_what_was_answered_before_a_restart_is_not_sent() -> None:
    batch = made_batch(lines(3), copies={2: 0})
    first = Bench([], Script().holds("r1"), batch=batch)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        working = group.create_task(first.work())
        await first.model.sent_to(2)
        for _ in range(20):
            await asyncio.sleep(0)
        working.cancel()
    assert set(first.outcomes()) == {"r0", "r2"}
    second = Bench([], batch=batch)
    assert await second.work()
    assert second.model.sent == ["r1"]
    assert set(second.outcomes()) == {"r0", "r1", "r2"}
