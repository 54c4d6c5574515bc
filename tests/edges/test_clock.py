"""The real clock, and that the fake one keeps its promises.

DIAGNOSTICS
    None: tests.
"""

import asyncio

from batchd.daemon.ports import Clock
from batchd.edges.clock import SystemClock
from tests.fakes.fake_clock import FakeClock


def clocks() -> list[Clock]:
    return [SystemClock(), FakeClock()]


async def test_a_sleep_never_ends_early() -> None:
    for clock in clocks():
        before, wall = clock.monotonic(), clock.now()
        await clock.sleep(0.0625)  # a binary fraction, exact in floats
        assert clock.monotonic() - before >= 0.0625
        assert clock.now() >= wall


async def test_chance_is_a_fraction() -> None:
    for clock in clocks():
        assert all(0.0 <= clock.random() < 1.0 for _ in range(1_000))


async def test_the_real_chance_is_not_the_same_twice() -> None:
    assert len({SystemClock().random() for _ in range(100)}) > 1


async def test_the_wall_time_is_of_this_century() -> None:
    assert SystemClock().now() > 1_700_000_000


async def test_a_fake_clock_that_stands_still_wakes_sleepers_in_their_order() -> None:
    clock = FakeClock(runs=False)
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append((name, clock.monotonic() - 1_000.0))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleep("late", 5.0))
        tasks.create_task(sleep("early", 2.0))
        await asyncio.sleep(0)
        await clock.advance(3.0)
        assert woken == [("early", 2.0)]
        await clock.advance(3.0)
    assert woken == [("early", 2.0), ("late", 5.0)]


async def test_a_jump_of_the_wall_clock_does_not_move_waits() -> None:
    clock = FakeClock(now=100.0)
    before = clock.monotonic()
    clock.jump(-50.0)
    assert (clock.now(), clock.monotonic()) == (50.0, before)
