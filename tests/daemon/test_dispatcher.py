"""The dispatcher where nothing goes wrong: who is sent when, in which slot, and what is durable before."""

import asyncio
from collections.abc import Sequence

from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.core.strategy import Strategy
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.station import IDLE_CHECK_S
from tests.daemon.bench import Bench
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import chat, embed, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import Script, ScriptedModel


class WatchedJournal(MemoryJournal):
    """Notes when intents have become durable."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def intend(self, indices: Sequence[int]) -> "asyncio.Future[None]":
        done = super().intend(indices)
        done.add_done_callback(lambda _: self.noted.extend(f"intended {index}" for index in indices))
        return done


class SlowJournal(MemoryJournal):
    """A commit of intents takes longer than all answers, the first one longer than a lane's patience."""

    def __init__(self) -> None:
        super().__init__()
        self._is_first = True

    def intend(self, indices: Sequence[int]) -> "asyncio.Future[None]":
        duration_s = 1.5 * IDLE_CHECK_S if self._is_first else 0.002
        self._is_first = False
        super().intend(indices)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(duration_s, _finish, done)
        return done


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def test_every_line_gets_exactly_one_outcome() -> None:
    bench = Bench([chat(f"r{n}") for n in range(40)], slots=3)
    assert await bench.work()
    assert bench.outcomes() == {f"r{n}": "yes" for n in range(40)}
    assert sorted(bench.model.sent) == sorted(f"r{n}" for n in range(40))
    assert [outcome.index for outcome in bench.durable if outcome.line] == list(
        dict.fromkeys(outcome.index for outcome in bench.durable)
    )
    assert bench.batch.journal.progress().completed == len(bench.durable) == 40


async def test_the_intent_of_a_line_is_durable_before_it_is_sent() -> None:
    journal = WatchedJournal()
    batch = made_batch([chat(f"{n}") for n in range(12)], journal)
    model = ScriptedModel(watch=lambda request: journal.noted.append(f"sent {request.custom_id}"))
    dispatcher = Dispatcher(
        batch, [model], FakeClock(), MemorySpool(), Rules(slots=3), on_durable=lambda outcome: None
    )
    assert await dispatcher.work()
    for number in range(12):
        assert journal.noted.index(f"intended {number}") < journal.noted.index(f"sent {number}")


async def test_no_more_requests_are_in_flight_than_there_are_slots() -> None:
    bench = Bench([chat(f"r{n}") for n in range(30)], slots=4)
    await bench.work()
    assert bench.model.most_in_flight == 4


async def test_a_server_that_gives_fewer_slots_gets_fewer_requests() -> None:
    bench = Bench([chat(f"r{n}") for n in range(6)], Script().has_slots(1), slots=4)
    await bench.work()
    assert bench.model.most_in_flight == 1
    assert len(bench.outcomes()) == 6


async def test_a_lane_stays_with_its_group_while_the_group_has_lines() -> None:
    shuffled = [
        chat(f"{name}{n}", system=f"Rubric {name}. {'Word for word. ' * 9}")
        for n in range(24)
        for name in "abc"
    ]
    bench = Bench(shuffled, slots=3)
    await bench.work()
    # At the very end a lane that has nothing left joins another; before that, nobody changes.
    early = {name: {bench.model.slots[f"{name}{n}"] for n in range(12)} for name in "abc"}
    assert sorted(early.values(), key=min) == [{0}, {1}, {2}]


async def test_no_slot_idles_while_one_group_is_left() -> None:
    bench = Bench([chat(f"r{n}") for n in range(16)], slots=4)
    await bench.work()
    assert set(bench.model.slots.values()) == {0, 1, 2, 3}


async def test_the_models_of_a_file_run_one_after_the_other_each_with_one_load() -> None:
    lines = [chat(f"r{n}", model="one" if n % 2 else "two") for n in range(8)] + [embed("v", model="two")]
    bench = Bench(lines)
    await bench.work()
    assert [(load.model, load.is_embedding) for load in bench.model.loads] == [
        ("two", False),
        ("two", True),
        ("one", False),
    ]
    assert bench.model.models == ["two"] * 5 + ["one"] * 4
    assert bench.outcomes()["v"] == "vector"


async def test_the_operators_model_answers_every_line_and_is_named_in_the_answer() -> None:
    batch = made_batch([chat("a", model="gpt-4o"), chat("b", model="gpt-4o-mini")])
    bench = Bench([], batch=batch, rules=Rules(slots=1, model="smollm2"))
    await bench.work()
    assert [load.model for load in bench.model.loads] == ["smollm2"]
    assert bench.model.models == ["smollm2", "smollm2"]
    assert all(b'"model":"smollm2"' in line for _, _, line in batch.journal.results())


async def test_the_window_is_no_larger_than_the_longest_request_needs() -> None:
    bench = Bench([chat("short"), chat("long", text="word " * 1200)])
    await bench.work()
    assert [load.window_tokens for load in bench.model.loads] == [2304]


async def test_a_larger_window_that_is_there_already_will_do() -> None:
    bench = Bench([chat("a")])
    assert await bench.work()
    assert [load.accepts_larger for load in bench.model.loads] == [True]


async def test_lines_that_intake_refused_are_not_sent() -> None:
    bench = Bench([None, chat("a"), None])
    assert await bench.work()
    assert bench.model.sent == ["a"]
    progress = bench.batch.journal.progress()
    assert (progress.completed, progress.failed) == (1, 2)


async def test_a_batch_without_a_request_asks_for_no_model() -> None:
    bench = Bench([None, None])
    assert await bench.work()
    assert bench.model.loads == []


async def test_partial_answers_are_written_once_they_are_durable() -> None:
    bench = Bench([chat(f"r{n}") for n in range(5)], slots=1)
    await bench.work()
    assert bench.partial_ids() == [f"r{n}" for n in range(5)]


async def test_a_slow_commit_does_not_stop_the_loop_while_answers_come_at_once() -> None:
    """A lane that finds nothing ready must wait and not spin, or the disk could never answer."""
    bench = Bench(
        [chat(f"r{n}") for n in range(60)], Script().answers_at_once(), slots=2, journal=SlowJournal()
    )
    async with asyncio.timeout(20):
        assert await bench.work()
    assert len(bench.model.sent) == 60


async def test_naive_sends_in_input_order_and_names_no_prefix() -> None:
    lines = [
        chat(f"{name}{n}", system=f"Rubric {name}. {'Word for word. ' * 99}")
        for n in range(6)
        for name in "ab"
    ]
    seen: dict[Strategy, list[Request]] = {}
    for strategy in (Strategy.PREFIX, Strategy.NAIVE):
        seen[strategy] = []
        model = ScriptedModel(watch=seen[strategy].append)
        batch = made_batch(lines, strategy=strategy)
        dispatcher = Dispatcher(
            batch, [model], FakeClock(), MemorySpool(), Rules(slots=1), on_durable=lambda outcome: None
        )
        assert await dispatcher.work()
    in_order = [line["custom_id"] for line in lines]
    assert [request.custom_id for request in seen[Strategy.NAIVE]] == in_order
    assert [request.custom_id for request in seen[Strategy.PREFIX]] != in_order
    assert {request.prefix for request in seen[Strategy.NAIVE]} == {None}
    assert None not in {request.prefix for request in seen[Strategy.PREFIX]}
