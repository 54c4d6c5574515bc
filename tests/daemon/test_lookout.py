"""The lookout: how often it looks, what it holds back, and that it survives gauges that fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from batchd.core.readings import Card, Eased, Happened, Held, Reading, Strained, Warned, Woke
from batchd.daemon.lookout import IDLE_LOOK_S, WORKING_LOOK_S, Lookout
from tests.fakes.fake_clock import FakeClock
from tests.fakes.fake_gauges import FakeGauges, FakeInhibitor

SHORT = Reading(memory_total_bytes=1_000_000, memory_free_bytes=40_000, suspended_s=0.0)
ROOMY = Reading(memory_total_bytes=1_000_000, memory_free_bytes=900_000, suspended_s=0.0)


class Tower:
    """A lookout with everything around it."""

    def __init__(self) -> None:
        self.gauges = FakeGauges(ROOMY)
        self.inhibitor = FakeInhibitor()
        self.clock = FakeClock(runs=False)
        self.is_working = True
        self.readings: list[Reading] = []
        self.happened: list[Happened] = []
        self.lookout = Lookout(
            self.gauges,
            self.inhibitor,
            self.clock,
            lambda: self.is_working,
            self.readings.append,
            self.happened.append,
        )

    @contextlib.asynccontextmanager
    async def manned(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.lookout.run())
            await self.clock.advance(0)
            for _ in range(10):
                await asyncio.sleep(0)
            yield
            task.cancel()


async def test_at_work_it_looks_often_and_keeps_the_machine_awake() -> None:
    tower = Tower()
    async with tower.manned():
        await tower.clock.advance(3 * WORKING_LOOK_S)
        assert tower.gauges.looks == 4
        assert tower.inhibitor.is_held
    assert tower.inhibitor.told == ["hold", "release"]
    assert tower.readings == [ROOMY] * 4


async def test_without_work_it_looks_seldom_and_lets_the_machine_sleep() -> None:
    tower = Tower()
    async with tower.manned():
        tower.is_working = False
        await tower.clock.advance(IDLE_LOOK_S + WORKING_LOOK_S)
        assert tower.gauges.looks == 2
        assert tower.inhibitor.told == ["hold", "release"]


async def test_short_memory_holds_the_dispatch_until_it_eases() -> None:
    tower = Tower()
    async with tower.manned():
        assert tower.lookout.notice() == ""
        tower.gauges.shown = SHORT
        await tower.clock.advance(WORKING_LOOK_S)
        held = tower.lookout.is_held
        assert tower.lookout.notice() == (
            "memory is short: 40 KB of 1 MB of memory are free; nothing new is sent until that eases"
        )
        tower.gauges.shown = ROOMY
        await tower.clock.advance(WORKING_LOOK_S)
        assert (held, tower.lookout.is_held) == (True, False)
    assert [type(item) for item in tower.happened] == [Warned, Held, Eased]


async def test_gauges_that_hang_hold_nothing_and_the_last_reading_is_not_believed_for_ever() -> None:
    tower = Tower()
    async with tower.manned():
        tower.gauges.shown = None
        await tower.clock.advance(3 * WORKING_LOOK_S)
        assert tower.gauges.looks == 4
        assert not tower.lookout.is_held
        tower.gauges.shown = Reading((Card("a card", "580", 1_000, 999),))
        await tower.clock.advance(WORKING_LOOK_S)
        assert [type(item) for item in tower.happened] == [Warned, Held, Strained]


async def test_a_hold_ends_when_the_gauges_fall_silent() -> None:
    tower = Tower()
    tower.gauges.shown = SHORT
    async with tower.manned():
        held = tower.lookout.is_held
        tower.gauges.shown = None
        await tower.clock.advance(WORKING_LOOK_S)
        assert (held, tower.lookout.is_held) == (True, False)


async def test_a_sleep_of_the_machine_is_told() -> None:
    tower = Tower()
    async with tower.manned():
        tower.gauges.shown = Reading(suspended_s=3_600.0)
        await tower.clock.advance(WORKING_LOOK_S)
    assert tower.happened == [Woke(3_600.0)]
