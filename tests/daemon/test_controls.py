"""Controls: they stay until they took effect, and not for ever; of two wishes the younger counts."""

import pytest

from batchd.daemon.controls import CANCEL, PAUSE, RESUME, UNKNOWN_AGE_S, Controls
from tests.fakes.fake_clock import FakeClock
from tests.fakes.memory_spool import Directory, MemorySpool

ID = f"batch_{1:032x}"


class World:
    def __init__(self) -> None:
        self.spool = MemorySpool()
        self.clock = FakeClock()
        self.controls = Controls(self.spool, self.clock)
        self.spool.told[ID, CANCEL] = self.clock.now()

    def age(self, duration_s: float) -> None:
        self.clock._move_to(self.clock.monotonic() + duration_s)

    def told(self) -> set[str]:
        return {verb for _, verb in self.spool.told}


def test_a_cancel_stays_however_often_it_is_read() -> None:
    world = World()
    assert all(world.controls.is_cancelled(ID) for _ in range(3))
    assert not world.controls.is_cancelled(f"batch_{2:032x}")


@pytest.mark.parametrize(
    ("told", "wish", "left"),
    [
        ({}, "", set()),
        ({PAUSE: 1.0}, PAUSE, {PAUSE}),
        ({RESUME: 1.0}, RESUME, {RESUME}),
        ({PAUSE: 1.0, RESUME: 2.0}, RESUME, {RESUME}),
        ({PAUSE: 2.0, RESUME: 1.0}, PAUSE, {PAUSE}),
        ({PAUSE: 2.0, RESUME: 2.0}, PAUSE, {PAUSE}),
    ],
)
def test_of_pause_and_resume_the_younger_one_counts_and_stays(
    told: dict[str, float], wish: str, left: set[str]
) -> None:
    world = World()
    world.spool.told.update({(ID, verb): at for verb, at in told.items()})
    for _ in range(2):
        assert world.controls.wish(ID) == wish
    assert world.told() == {CANCEL, *left}


def test_what_is_done_goes_alone() -> None:
    world = World()
    world.spool.told[ID, PAUSE] = 1.0
    world.controls.done(ID, PAUSE)
    world.controls.done(ID, PAUSE)
    assert world.told() == {CANCEL}


def test_all_go_with_their_batch() -> None:
    world = World()
    world.spool.told.update({(ID, PAUSE): 1.0, (ID, RESUME): 2.0})
    world.controls.close(ID)
    world.controls.close(ID)
    assert world.spool.told == {}


def test_one_for_a_batch_that_is_not_there_waits_for_a_week(said: list[str]) -> None:
    world = World()
    world.age(UNKNOWN_AGE_S - 1.0)
    world.controls.expire()
    assert world.controls.is_cancelled(ID)
    world.age(2.0)
    world.controls.expire()
    assert not world.controls.is_cancelled(ID)
    assert any("no such batch came within a week" in line for line in said)


def test_one_for_a_batch_at_work_stays_however_old(said: list[str]) -> None:
    world = World()
    world.spool.processing[ID] = Directory()
    world.age(2 * UNKNOWN_AGE_S)
    world.controls.expire()
    assert world.controls.is_cancelled(ID)


def test_one_for_a_finished_batch_is_dropped_and_it_is_said(said: list[str]) -> None:
    world = World()
    world.spool.outbox[f"a.{ID}"] = {"batch.json": b"{}"}
    world.controls.expire()
    assert world.spool.told == {}
    assert any("the batch is finished" in line for line in said)
