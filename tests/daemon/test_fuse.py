"""The fuse: an epidemic leaves its victims pending, single failures get their error lines."""

import asyncio

from batchd.core.breaker import TRIPS, WINDOW, trips_of
from batchd.core.fault import Category, ModelFault
from batchd.core.record import Outcome
from batchd.core.request import Endpoint, Message, Request
from batchd.core.retry import Decision, Next
from batchd.daemon.fuse import Fuse
from batchd.daemon.ledger import Failure, Success
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import answer

NONSENSE = ModelFault(Category.SERVER, "half an answer", is_temporary=True)
OWN = ModelFault(Category.CONTEXT_LENGTH, "too long", is_temporary=False)
CANCELLED = ModelFault(Category.CANCELLED, "", is_temporary=False)
LAST = Decision(Next.GIVE_UP, 3, 0)


class World:
    def __init__(self, count: int = 100) -> None:
        self.batch = made_batch([chat(f"r{number}") for number in range(count)])
        self.durable: list[Outcome] = []
        self.reasons: list[str] = []
        self.fuse = Fuse(self.batch, MemorySpool(), self.durable.append, self.reasons.append)
        self.fuse.follow(self.batch.journal.plan())
        self.fuse.begin({})

    def fail(self, index: int, fault: ModelFault = NONSENSE) -> None:
        self.fuse.given_up(Failure(index, index + 1, f"r{index}", fault, LAST))

    def answer(self, index: int) -> None:
        request = Request(f"r{index}", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
        self.fuse.answered(Success(index, request, "m", answer(), 1.0, 0))

    def recorded(self) -> list[int]:
        return [index for index, byte in enumerate(self.batch.journal.finished()) if byte]


async def test_a_single_failure_is_recorded_when_a_window_of_answers_came_after_it() -> None:
    world = World()
    world.fail(0)
    for number in range(1, WINDOW):
        world.answer(number)
    await world.fuse.drain()
    assert 0 not in world.recorded()
    world.answer(WINDOW)
    await world.fuse.drain()
    assert 0 in world.recorded()
    assert world.batch.journal.progress().failed == 1


async def test_when_all_fail_alike_it_blows_once_and_nothing_is_recorded_as_failed() -> None:
    world = World()
    for number in range(WINDOW + 5):  # the last ones were in flight
        world.fail(number)
    await world.fuse.drain()
    assert len(world.reasons) == 1
    assert "half an answer" in world.reasons[0]
    assert world.recorded() == []
    assert world.batch.journal.attempts() == dict.fromkeys(range(WINDOW + 5), (0, 0))
    assert world.batch.journal.progress().faults == {"server": WINDOW + 5}
    assert trips_of(world.batch.journal.meta()) == {"server": 1}
    assert TRIPS in world.batch.journal.meta()


async def test_after_it_has_blown_answers_and_the_submitters_own_faults_are_recorded() -> None:
    world = World()
    for number in range(WINDOW):
        world.fail(number)
    world.answer(WINDOW)
    world.fail(WINDOW + 1, OWN)
    await world.fuse.drain()
    assert world.recorded() == [WINDOW, WINDOW + 1]


async def test_at_the_end_what_waits_is_recorded() -> None:
    world = World(3)
    for number in range(3):
        world.fail(number)
    await world.fuse.drain()
    assert world.recorded() == []
    world.fuse.let_go()
    await world.fuse.drain()
    assert world.recorded() == [0, 1, 2]
    assert world.reasons == []


async def test_what_is_kept_stays_pending_with_its_attempts_forgotten() -> None:
    world = World(3)
    world.fail(1)
    async with asyncio.timeout(5):
        await world.fuse.keep()
    assert world.recorded() == []
    assert world.batch.journal.attempts() == {1: (0, 0)}
    assert world.fuse.failed == 1


async def test_a_decision_about_the_whole_batch_is_recorded_at_once_however_many_it_ends() -> None:
    world = World()
    for number in range(100):
        world.fuse.ended(Failure(number, number + 1, f"r{number}", CANCELLED, LAST))
    await world.fuse.drain()
    assert len(world.recorded()) == 100
    assert (world.reasons, world.fuse.failed) == ([], 100)
