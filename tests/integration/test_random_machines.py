"""Random machines: whatever the memory, the model and the vices, a batch ends by itself and loses nobody.

SUMMARY
    The real governor, supervisor, dispatcher and their rooms run against a simulated machine in virtual time.
    The test knows the machine's best fixed limit; the governor starts with somebody's guess.

    BATCHD_TEST_MACHINES    how many; BATCHD_TEST_SEED    where chance begins

DIAGNOSTICS
    None: tests.
"""

import os
import statistics
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from loguru import logger

from batchd.core.course import Cohort
from batchd.core.fault import Category, ModelFault
from batchd.core.limits import RENEWED, Change, Limits
from batchd.core.model import Answer, Load, Loaded
from batchd.core.request import Request
from batchd.core.restarts import PAUSE_BASE_S, SPANS
from batchd.core.rules import Rules
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.supervisor import Supervisor
from tests.chaos.tally import Books, tally
from tests.daemon.bench import parsed, said
from tests.fakes.fixed_limit import best_per_s
from tests.fakes.machine_server import MachineServer, Rig
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.virtual_loop import VirtualClock, run
from tests.simulator.machine import Machine

MACHINES = int(os.environ.get("BATCHD_TEST_MACHINES", "200"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: The share of the best fixed limit's throughput that the median machine must reach.
REACHED_MEDIAN = 0.85

GB = 10**9


@dataclass(slots=True)
class World:
    """One random machine, with the work that it gets and the guess that it begins with."""

    number: int
    rig: Rig
    lines: int
    bound: int
    guess: int


@dataclass(slots=True)
class Story:
    """What became of it."""

    outcomes: dict[str, str]
    duration_s: float
    changes: list[Change]
    server: MachineServer
    impatient: list[float] = field(default_factory=list)


def random_world(number: int) -> World:
    random = Random(f"{SEED} {number}")
    lines = random.randint(300, 600)
    names = [f"r{n}" for n in range(lines)]
    capacity = int(random.uniform(4, 48) * GB)
    weights = int(capacity * random.uniform(0.2, 0.7))
    bound = random.choice([16, 400, 1_500, 3_000])
    rig = Rig(
        Machine(memory_bytes=capacity),
        weights,
        kv_bytes=int(random.uniform(20_000, 200_000)),
        compute_bytes=int(random.uniform(0, 0.02) * capacity),
        load_s=random.uniform(1, 8),
        answer_s=random.uniform(1, 6),
        crowding=random.uniform(0.02, 0.4),
        dies_silently=random.random() < 0.3,
    )
    # One slot fits, or nobody could do anything.
    capacity = max(capacity, rig.size_bytes(_window(bound), 1))
    room = capacity - rig.size_bytes(_window(bound), 1)
    spiky, leaky, poisoned = (random.random() < share for share in (0.3, 0.3, 0.3))
    machine = replace(
        rig.machine,
        memory_bytes=capacity,
        spike_bytes=int(random.uniform(0.05, 0.5) * room) if spiky else 0,
        spike_share=random.uniform(0.01, 0.05) if spiky else 0.0,
        leak_bytes=int(room / random.uniform(60, 600)) if leaky else 0,
    )
    rig = replace(
        rig,
        machine=machine,
        poison=frozenset(random.sample(names, random.randint(1, 3))) if poisoned else frozenset(),
        hanging=frozenset(random.sample(names, 1)) if random.random() < 0.05 else frozenset(),
    )
    return World(
        number, replace(rig, poison=rig.poison - rig.hanging), lines, bound, random.choice([4, 8, 16, 32, 64])
    )


def _window(bound: int) -> int:
    batch = made_batch([chat("r0", bound=bound)])
    return max(1_024, -(-batch.journal.plan().groups[0].window_tokens // 256) * 256)


class Watched:
    """The supervisor, as the dispatcher sees it, with an account of deaths that is not its own."""

    name, number = "", 0

    def __init__(self, supervisor: Supervisor, server: MachineServer, clock: VirtualClock) -> None:
        self._supervisor = supervisor
        self._server = server
        self._clock = clock
        self._deaths: list[float] = []
        self._must_wait_from: float | None = None
        self.impatient: list[float] = []

    async def ensure(self, load: Load, is_wanted: object, smallest: int) -> Loaded | ModelFault | None:
        before = len(self._server.restarts)
        loaded = await self._supervisor.ensure(load, is_wanted, smallest)  # type: ignore[arg-type]
        since, self._must_wait_from = self._must_wait_from, None
        if since is not None and self._server.restarts[before] - since < PAUSE_BASE_S / 2:
            self.impatient.append(since)
        return loaded

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        return await self._supervisor.answer(request, slot, timeout_s)

    async def count_tokens(self, request: Request) -> int | None:
        return await self._supervisor.count_tokens(request)

    def suspect(self, fault: ModelFault, is_trial: bool = False) -> None:
        now = self._clock.monotonic()
        if self._supervisor.standing.is_ready and not is_trial and fault.category is not Category.NETWORK:
            self._deaths.append(now)
            recent = [sum(now - at < span_s for at in self._deaths) for _, span_s in SPANS]
            if any(count > allowed for count, (allowed, _) in zip(recent, SPANS, strict=True)):
                self._must_wait_from = now
        self._supervisor.suspect(fault, is_trial)

    def finished(self, cohort: Cohort) -> bool:
        return self._supervisor.finished(cohort)

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        if guilty and deaths:
            del self._deaths[-deaths:]
        self._supervisor.judged(guilty, deaths)


def live(world: World) -> Story:
    """The whole batch, in virtual time."""

    async def work() -> Story:
        clock, changes = VirtualClock(world.number), list[Change]()
        server = MachineServer(world.rig, world.number)
        supervisor = Supervisor(server, clock, Limits(world.guess, owns_slots=True), changes.append)
        model = Watched(supervisor, server, clock)
        batch = made_batch([chat(f"r{n}", bound=world.bound) for n in range(world.lines)])
        dispatcher = Dispatcher(
            batch, [model], clock, MemorySpool(), Rules(slots=world.guess), lambda outcome: None
        )
        began = clock.monotonic()
        assert await dispatcher.work()
        found = [parsed(line) for _, _, line in batch.journal.results()]
        assert len(found) == world.lines
        outcomes = {line["custom_id"]: said(line) for line in found}
        return Story(outcomes, clock.monotonic() - began, changes, server, model.impatient)

    return run(work())


@pytest.mark.timeout(120 + 3 * MACHINES)
def test_every_machine_ends_its_batch_by_itself_and_near_its_best_limit() -> None:
    logger.disable("batchd")
    shares = list[float]()
    try:
        with tally("random machines", SEED, Books()) as books:
            for world in map(random_world, range(MACHINES)):
                story = live(world)
                guilty = {name for name, outcome in story.outcomes.items() if outcome != "yes"}
                books.blows += 1
                books.requests += world.lines
                books.lost += world.lines - len(story.outcomes)
                assert len(story.outcomes) == world.lines, world
                assert guilty == world.rig.poison | world.rig.hanging, (world, story.changes)
                assert not story.impatient, world
                best = best_per_s(world.rig, _window(world.bound), world.guess, world.lines, world.number)
                shares.append(world.lines / story.duration_s / best)
    finally:
        logger.enable("batchd")
    deciles = statistics.quantiles(shares, n=10) if len(shares) > 1 else shares
    print(
        f"\n{len(shares)} machines; share of the best fixed limit, deciles:",
        [f"{share:.2f}" for share in deciles],
    )
    assert statistics.median(shares) >= REACHED_MEDIAN


def one(rig: Rig, guess: int, lines: int = 1_200) -> tuple[World, Story, float]:
    """One machine, and the share of its best fixed limit that was reached."""
    world = World(1, rig, lines, 400, guess)
    story = live(world)
    best = best_per_s(rig, _window(400), guess, lines, 1)
    return world, story, lines / story.duration_s / best


def rig_of(slots: int, **more: object) -> Rig:
    """A machine on which so many slots fit, and each is worth nearly as much as the first."""
    plain = Rig(Machine(), GB, 100_000, load_s=5.0, answer_s=3.0, crowding=0.01)
    memory = plain.size_bytes(_window(400), slots) + 10**6
    return replace(plain, machine=Machine(memory_bytes=memory, **more))  # type: ignore[arg-type]  # vices


def test_after_a_guess_that_is_just_too_large_the_slots_grow_back() -> None:
    _, story, share = one(rig_of(15), guess=16, lines=3_000)
    assert story.server.loads[-1].slots >= 13
    assert share >= REACHED_MEDIAN
    assert not story.server.deaths


def test_a_leak_is_met_with_loads_that_are_renewed_in_good_order() -> None:
    rig = rig_of(9, leak_bytes=10**6)
    rig = replace(rig, machine=replace(rig.machine, leak_bytes=rig.kv_bytes * _window(400) // 200))
    _, story, share = one(rig, guess=8)
    assert len(story.server.deaths) <= 3
    assert sum(change.name == RENEWED for change in story.changes) >= 4
    assert share >= REACHED_MEDIAN


def test_a_machine_beside_whose_card_nothing_is_gained_stays_on_its_card() -> None:
    rig = rig_of(16)
    card = rig.size_bytes(_window(400), 10)
    rig = replace(rig, machine=Machine(gpu_bytes=card))
    _, story, _ = one(rig, guess=16)
    assert {load.slots for load in story.server.loads[-1:]} <= {8, 9, 10}
    assert story.changes[0].evidence.endswith("GB are on the card")
