"""Patience: a full disk is waited for, ever longer, until there is room or we are stopped."""

import pytest

from batchd.app.patience import Patience
from batchd.core.waiting import PAUSE_FIRST_S, PAUSE_LAST_S
from batchd.errors import NoSpaceError, SpoolError
from tests.fakes.fake_clock import FakeClock


class Step:
    """Finds the disk full so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.taken = 0

    def __call__(self) -> str:
        self.taken += 1
        if self.taken <= self.times:
            raise NoSpaceError("The disk is full.", "Make room.")
        return "done"


async def test_a_step_with_room_is_taken_once_and_at_once() -> None:
    clock, step = FakeClock(), Step(0)
    told: list[float] = []
    assert await Patience(clock, lambda: told.append(1), lambda: False).take(step) == "done"
    assert (step.taken, clock.slept, told) == (1, [], [])


async def test_a_full_disk_is_told_each_time_and_waited_for_ever_longer() -> None:
    clock, step = FakeClock(), Step(12)
    told: list[float] = []
    assert await Patience(clock, lambda: told.append(sum(clock.slept)), lambda: False).take(step) == "done"
    pauses = [late - early for early, late in zip(told, [*told[1:], sum(clock.slept)], strict=True)]
    assert pauses[0] == PAUSE_FIRST_S
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(PAUSE_LAST_S, abs=PAUSE_FIRST_S)


async def test_who_is_stopped_waits_no_longer() -> None:
    clock, step = FakeClock(), Step(99)
    patience = Patience(clock, lambda: None, lambda: sum(clock.slept) >= 3 * PAUSE_FIRST_S)
    assert await patience.take(step) is None
    assert sum(clock.slept) == 3 * PAUSE_FIRST_S


async def test_other_trouble_is_nothing_to_wait_for() -> None:
    def broken() -> None:
        raise SpoolError("The disk is gone.", "Look at it.")

    with pytest.raises(SpoolError):
        await Patience(FakeClock(), lambda: None, lambda: False).take(broken)
