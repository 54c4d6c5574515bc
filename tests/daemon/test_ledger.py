"""The ledger: what is counted only when durable, how much may wait, and a journal that fails."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from loguru import logger

from batchd.core.fault import Category, LineFault
from batchd.core.json import loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.record import Outcome
from batchd.core.request import Endpoint, Message, Request
from batchd.core.retry import Decision, Next
from batchd.daemon.ledger import PARTIAL_LINES_MAX, UNACKNOWLEDGED_MAX, Failure, Ledger, Success
from batchd.errors import JournalError, NoSpaceError, SpoolError
from tests.fakes.made_batch import ID, chat, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import answer, crash, hiccup


class HeldJournal(MemoryJournal):
    """Acknowledges when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[asyncio.Future[None]] = []

    def record(self, outcome: Outcome) -> "asyncio.Future[None]":
        super().record(outcome)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def acknowledge(self, count: int) -> None:
        """The oldest so many, as one commit does it."""
        for future in [future for future in self.futures if not future.done()][:count]:
            future.set_result(None)
        await asyncio.sleep(0)


class FullSpool(MemorySpool):
    is_full = True

    def append_partial(self, batch_id: str, lines: bytes) -> None:
        if self.is_full:
            raise NoSpaceError("no space left")
        super().append_partial(batch_id, lines)


class World:
    def __init__(self, lines: int = 3, spool: MemorySpool | None = None) -> None:
        self.journal = HeldJournal()
        self.spool = spool or MemorySpool()
        self.durable: list[int] = []
        batch = made_batch([chat(f"r{n}") for n in range(lines)], self.journal)
        self.paused = 0
        self.ledger = Ledger(
            batch, self.spool, lambda outcome: self.durable.append(outcome.index), self._pause
        )
        self.ledger.follow(self.journal.plan())

        self.ledger.follow(self.journal.plan())

    def _pause(self) -> None:
        self.paused += 1

    def answered(self, index: int) -> None:
        request = Request(f"r{index}", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
        self.ledger.answered(Success(index, request, "m", answer(f"answer {index}"), 1_800_000_000.5, 1))

    async def acknowledge(self, count: int) -> None:
        """So many are durable, and what is shown of them is written."""
        await self.journal.acknowledge(count)
        await self.ledger.leave()

    def partial_lines(self) -> int:
        return self.spool.partial.get(ID, b"").count(b"\n")


async def test_an_answer_counts_and_is_partial_only_after_its_acknowledgement() -> None:
    world = World()
    world.answered(0)
    await asyncio.sleep(0)
    assert (world.durable, world.partial_lines()) == ([], 0)
    await world.acknowledge(1)
    assert (world.durable, world.partial_lines()) == ([0], 1)
    line = loads(world.spool.partial[ID])
    assert isinstance(line, dict)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "answer 0"
    assert line["response"]["body"]["created"] == 1_800_000_000


async def test_a_commit_of_many_is_written_to_partial_at_once() -> None:
    class Counting(MemorySpool):
        appends = 0

        def append_partial(self, batch_id: str, lines: bytes) -> None:
            self.appends += 1
            super().append_partial(batch_id, lines)

    spool = Counting()
    world = World(20, spool)
    for index in range(20):
        world.answered(index)
    await world.acknowledge(20)
    assert (spool.appends, world.partial_lines()) == (1, 20)


async def test_a_failed_attempt_behind_an_answer_does_not_keep_it_from_partial() -> None:
    world = World()
    world.answered(0)
    world.ledger.attempted(1, hiccup(), Decision(Next.AGAIN, 1, 0))
    await world.acknowledge(2)
    assert world.partial_lines() == 1


async def test_partial_does_not_wait_for_a_pause_that_never_comes() -> None:
    world = World(PARTIAL_LINES_MAX + 10)
    for index in range(PARTIAL_LINES_MAX + 10):
        world.answered(index)
    await world.acknowledge(PARTIAL_LINES_MAX + 5)
    assert world.partial_lines() >= PARTIAL_LINES_MAX
    await world.acknowledge(5)
    assert world.partial_lines() == PARTIAL_LINES_MAX + 10


async def test_there_is_no_room_beyond_the_bound_until_something_is_durable() -> None:
    world = World(UNACKNOWLEDGED_MAX)
    for index in range(UNACKNOWLEDGED_MAX - 1):
        world.answered(index)
    await world.ledger.room()
    world.answered(UNACKNOWLEDGED_MAX - 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await world.ledger.room()
    await world.acknowledge(1)
    async with asyncio.timeout(5):
        await world.ledger.room()


async def test_drain_waits_for_everything() -> None:
    world = World()
    world.answered(0)
    world.answered(1)
    async with asyncio.TaskGroup() as group:
        drain = group.create_task(world.ledger.drain())
        await world.acknowledge(1)
        await asyncio.sleep(0.01)
        assert not drain.done()
        await world.acknowledge(1)
    assert world.durable == [0, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda world: world.ledger.room(),
        lambda world: world.ledger.drain(),
        lambda world: asyncio.sleep(0, world.answered(1)),
    ],
    ids=["room", "drain", "answered"],
)
async def test_a_journal_error_comes_up_at_the_next_call(call: Callable[[World], object]) -> None:
    world = World()
    world.answered(0)
    world.journal.futures[0].set_exception(JournalError("The disk is gone."))
    await asyncio.sleep(0)
    with pytest.raises(JournalError, match="gone"):
        await call(world)  # type: ignore[misc]  # each of them is awaitable
    assert (world.durable, world.partial_lines()) == ([], 0)


async def test_a_journal_error_ends_a_drain_that_waits() -> None:
    world = World()
    world.answered(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.01)).add_done_callback(
            lambda _: world.journal.futures[0].set_exception(JournalError("gone"))
        )
        with pytest.raises(JournalError, match="gone"):
            await world.ledger.drain()


async def test_a_partial_file_that_cannot_be_written_is_said_once_and_nothing_stops() -> None:
    class Full(MemorySpool):
        def append_partial(self, batch_id: str, lines: bytes) -> None:
            raise SpoolError("no space left")

    world, said = World(spool=Full()), list[str]()
    sink = logger.add(lambda message: said.append(str(message)), format="{message}")
    for index in range(2):
        world.answered(index)
        await world.acknowledge(1)
    logger.remove(sink)
    assert world.durable == [0, 1]
    assert sum("no space left" in line for line in said) == 1


async def test_on_a_full_disk_partial_waits_whole_and_in_order_and_sending_is_paused() -> None:
    spool = FullSpool()
    world = World(6, spool)
    for index in range(5):
        world.answered(index)
        await world.acknowledge(1)
    assert (world.durable, world.partial_lines(), world.paused) == ([0, 1, 2, 3, 4], 0, 5)
    spool.is_full = False
    world.answered(5)
    await world.acknowledge(1)
    ids = [json.loads(line)["custom_id"] for line in spool.partial[ID].splitlines()]
    assert ids == [f"r{index}" for index in range(6)]


async def test_what_waited_for_room_is_shown_at_the_latest_when_the_batch_ends() -> None:
    spool = FullSpool()
    world = World(spool=spool)
    world.answered(0)
    await world.acknowledge(1)
    spool.is_full = False
    await world.ledger.drain()
    assert world.partial_lines() == 1


async def test_a_request_that_is_given_up_has_its_line_and_its_category() -> None:
    world = World()
    world.ledger.given_up(Failure(1, 7, "r1", crash("unexpected EOF"), Decision(Next.GIVE_UP, 0, 3)))
    await world.acknowledge(1)
    [(index, is_error, line)] = world.journal.results()
    assert (index, is_error) == (1, True)
    assert loads(line) == {
        "id": f"batch_req_{0:032x}{1:08x}",
        "custom_id": "r1",
        "response": None,
        "error": {"code": "crash", "message": "unexpected EOF", "line": 7},
    }
    assert world.journal.progress().faults == {Category.CRASH: 1}


@pytest.mark.parametrize(
    ("text", "bound", "finish", "source", "expected"),
    [
        ("yes", 16, "stop", Source.ENGINE, (0, 0, 0)),
        (" \n", 16, "stop", Source.ENGINE, (1, 0, 0)),
        ("yes", 16, "length", Source.LOG, (0, 1, 0)),
        ("yes", 16, "stop", Source.UNKNOWN, (0, 0, 1)),
    ],
)
async def test_an_answer_is_counted_for_what_it_is(
    text: str, bound: int, finish: str, source: Source, expected: tuple[int, ...]
) -> None:
    world = World()
    request = Request("r0", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, bound)
    got = Answer(text, None, finish, Usage(100, 5, None, source, None, None))
    world.ledger.answered(Success(0, request, "m", got, 0.0, 0))
    await world.acknowledge(1)
    spent = world.journal.progress().spent
    counted = (spent.empty_answers, spent.cut_answers, spent.unknown_answers)
    assert counted == expected
    assert (spent.prompt_tokens, spent.completion_tokens, spent.cached_tokens) == (100, 5, 0)


async def test_an_embedding_is_no_empty_answer() -> None:
    world = World()
    request = Request("r0", Endpoint.EMBEDDINGS, "m", (), ("hi",), {}, 0)
    got = Answer("", None, "stop", Usage(5, 0, 0, Source.ENGINE, 0.1, None), ((0.5,),))
    world.ledger.answered(Success(0, request, "m", got, 0.0, 0))
    await world.acknowledge(1)
    assert world.journal.progress().spent.empty_answers == 0


async def test_an_answer_is_counted_where_and_when_it_was_given() -> None:
    world = World(2)
    for index in (1, 0):
        world.answered(index)
    await world.acknowledge(2)
    shares = world.journal.shares([0])
    assert (shares.groups[0].answers, shares.lanes[1].answers, shares.pace.answers) == (2, 2, (2,))


async def test_copies_become_durable_with_their_original() -> None:
    world = World(2)
    world.ledger.follow(replace(world.journal.plan(), copies={1: 3}))
    world.answered(0)
    world.ledger.attempted(1, hiccup(), Decision(Next.AGAIN, 1, 0))
    await world.acknowledge(2)
    assert world.durable == [0, 1]
    world.answered(1)
    await world.acknowledge(1)
    assert world.durable == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("call", ["room", "drain"])
async def test_a_bug_in_what_is_told_of_durable_answers_is_raised_and_not_only_logged(call: str) -> None:
    def fail(outcome: Outcome) -> None:
        raise ZeroDivisionError

    journal = HeldJournal()
    ledger = Ledger(made_batch([chat("r0")], journal), MemorySpool(), fail)
    ledger.follow(journal.plan())
    ledger.refused(0, LineFault(1, "bad", "This line is bad."))
    await journal.acknowledge(1)
    with pytest.raises(ZeroDivisionError):
        await getattr(ledger, call)()


class Late:
    """What a log tells of an answer, when the test says so."""

    def __init__(self) -> None:
        self.tells: list[Callable[[Usage], None]] = []

    def answer(self) -> Answer:
        return replace(answer("yes"), usage=UNTOLD, late=self.tells.append)


UNTOLD = Usage(100, 5, None, Source.UNKNOWN, 0.1, 0.2)
TOLD = replace(UNTOLD, cached_tokens=90, cached_source=Source.LOG)


async def test_an_answer_whose_count_comes_late_is_entered_with_it() -> None:
    world, late, learned = World(), Late(), list[Usage]()
    request = Request("r0", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    world.ledger.answered(Success(0, request, "m", late.answer(), 0.0, 0), learned.append)
    assert (world.journal.futures, learned) == ([], [])
    async with asyncio.TaskGroup() as group:
        draining = group.create_task(world.ledger.drain())
        await asyncio.sleep(0)
        late.tells[0](TOLD)
        for _ in range(9):
            await asyncio.sleep(0)
        assert not draining.done(), "what it was entered with is not durable yet"
        await world.journal.acknowledge(1)
    assert (world.durable, learned) == ([0], [TOLD])
    spent = world.journal.progress().spent
    assert (spent.cached_tokens, spent.unknown_answers) == (90, 0)
    line = loads(world.spool.partial[ID])
    assert isinstance(line, dict)
    details = line["response"]["body"]["usage"]["prompt_tokens_details"]
    assert details == {"cached_tokens": 90, "cached_tokens_source": "log"}


async def test_answers_whose_counts_are_late_take_room_as_unacknowledged_ones_do() -> None:
    world, late = World(UNACKNOWLEDGED_MAX), Late()
    for index in range(UNACKNOWLEDGED_MAX):
        request = Request(f"r{index}", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
        world.ledger.answered(Success(index, request, "m", late.answer(), 0.0, 0))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.ledger.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        for tell in late.tells:
            tell(UNTOLD)
        await world.journal.acknowledge(UNACKNOWLEDGED_MAX)
    assert world.journal.progress().spent.unknown_answers == UNACKNOWLEDGED_MAX


async def test_a_bug_in_what_learns_of_a_late_count_is_raised_by_who_comes_next() -> None:
    world, late = World(), Late()

    def learn(usage: Usage) -> None:
        raise ZeroDivisionError

    request = Request("r0", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    world.ledger.answered(Success(0, request, "m", late.answer(), 0.0, 0), learn)
    late.tells[0](TOLD)
    with pytest.raises(ZeroDivisionError):
        await world.ledger.room()
