"""A disk that is full for hours: the daemon waits, counts, decides, and goes on when there is room.

SUMMARY
    A whole house over a real spool and real journals on a small disk, in simulated time: it fills at a moment
    of chance, and stays full for BATCHD_TEST_LONG_DISK_HOURS, in which the house looks at its spool once a
    second, the machine's memory goes up and down, and the model server is lost now and then. Then there is
    room. BATCHD_TEST_LONG_DISKS is how many disks, BATCHD_TEST_SEED where chance begins.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import contextlib
import heapq
import itertools
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from batchd.core.readings import Reading
from batchd.core.request import Request
from tests.app.premises import Premises
from tests.chaos.checker import outcomes_of, problems_of
from tests.chaos.disks import resize, small_disk
from tests.chaos.tally import Books, tally
from tests.chaos.test_full_disk import GROWN_MIB, fill
from tests.fakes.fake_gauges import FakeGauges
from tests.fakes.made_batch import chat, content
from tests.fakes.scripted_model import Script, answer, unreachable

DISKS = int(os.environ.get("BATCHD_TEST_LONG_DISKS", "1"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "1"))

FULL_S = 3_600 * float(os.environ.get("BATCHD_TEST_LONG_DISK_HOURS", "1.5"))
SMALLEST_MIB, LARGEST_MIB = 6.0, 14.0

#: What others leave on the disk; the next answers are larger, and no compression helps.
LEFT_BYTES_MAX = 20_000
ANSWER_BYTES = 4_000

#: So many requests find no server.
GONE = 3

#: The real time in which the house may do what falls into one moment of the simulated one.
TURN_S = 0.0002

#: A wait that ends here, in real time, is a hang.
WAIT_S = 120.0


class HurriedClock:
    """The port `Clock`: when all have had their turn, it is the moment for which the next one waits."""

    def __init__(self) -> None:
        self._moment = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return 1_700_000_000.0 + self._moment  # before the files of the test were made: none is old

    def monotonic(self) -> float:
        return self._moment

    def random(self) -> float:
        return 0.5

    async def sleep(self, duration_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._moment + duration_s, next(self._count), woken))
        await woken

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._sleepers:
                self._moment = max(self._moment, self._sleepers[0][0])
            while self._sleepers and self._sleepers[0][0] <= self._moment:
                woken = heapq.heappop(self._sleepers)[2]
                if not woken.done():
                    woken.set_result(None)


class MovingGauges(FakeGauges):
    """The memory of the machine as others use it."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def read(self, timeout_s: float) -> Reading | None:
        self.looks += 1
        free = self._chance.randrange(2**28, 2**34)
        return Reading(memory_total_bytes=2**34, memory_free_bytes=free, server_bytes=2**34 - free)


@pytest.mark.timeout(60 + 150 * DISKS)
async def test_a_disk_that_is_full_for_hours_loses_nothing_and_ends_nobody(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with tally("long full disks", SEED, Books(ended=0)) as books:
        for number in range(DISKS):
            place = tmp_path / str(number)
            place.mkdir()
            with small_disk(place, chance.uniform(SMALLEST_MIB, LARGEST_MIB)) as disk:
                await one_disk(disk, chance, books)


async def one_disk(disk: Path, chance: random.Random, books: Books) -> None:
    lines = [chat(f"r{number}") for number in range(chance.randint(50, 300))]
    names, script = [str(line["custom_id"]) for line in lines], Script()
    gone = set(chance.sample(names, GONE))  # under these the server goes, and comes back
    for name in names:
        answers = [answer(chance.randbytes(ANSWER_BYTES).hex()) for _ in range(2)]
        script.answers(name, *[unreachable()] * (name in gone), *answers)
    world = Premises(disk, script)
    world.gauges = MovingGauges(chance)
    clock = world.clock = HurriedClock()  # type: ignore[assignment]  # the same port
    house = world.build()
    batches = {world.drop(lines, f"{name}.jsonl"): content(lines) for name in ("first", "second")}
    # At an answer of the first batch, of the second, or before any of them.
    moment = chance.randint(0, 2 * len(lines) - 1)
    seen = Counter[str]()

    def watch(request: Request) -> None:
        seen[request.custom_id] += 1
        if sum(seen.values()) == moment:
            fill(disk, chance.randrange(0, LEFT_BYTES_MAX))

    world.server._watch = watch
    if not moment:
        fill(disk, chance.randrange(0, LEFT_BYTES_MAX))
    books.blows += 1
    books.requests += len(lines) * len(batches)
    try:
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            time = group.create_task(clock.run())
            group.create_task(house.run())
            while not (disk / "ballast").exists():  # noqa: ASYNC110 - it fills when its moment comes
                await asyncio.sleep(0.001)
            began, ticks = clock.monotonic(), len(world.service.lines)
            while len(world.service.lines) - ticks < FULL_S:  # noqa: ASYNC110 - a look for each second of them
                await asyncio.sleep(0.01)
            assert clock.monotonic() - began >= FULL_S
            (disk / "ballast").unlink()
            resize(disk, GROWN_MIB)
            for batch_id in batches:
                await world.result(batch_id)
            house.stop()
            while not world.service.lines[-1].startswith("stopped"):  # noqa: ASYNC110 - the house closes
                await asyncio.sleep(0.01)
            time.cancel()
    except BaseException:
        books.ended += 1  # type: ignore[operator]  # it is counted here
        raise
    finally:
        with contextlib.suppress(OSError):
            world.spool.close()
    checked(world, batches, seen, books)


def checked(world: Premises, batches: dict[str, bytes], seen: "Counter[str]", books: Books) -> None:
    problems = problems_of(world.root)
    for batch_id, handed_in in batches.items():
        [result] = (world.root / "outbox").glob(f"*.{batch_id}")
        lost, doubled = outcomes_of(result, handed_in)
        books.lost += len(lost)
        books.doubled += len(doubled)
        problems += [f"{batch_id}: lost {lost}, doubled {doubled}"] if lost or doubled else []
    # Once for each batch; those that met no server are sent again.
    again = sum(count - len(batches) for count in seen.values())
    books.recomputed += max(0, again - GONE)
    assert not problems, f"seed {SEED}: {problems}"
    assert again == GONE, f"seed {SEED}: {seen.most_common(10)}"
