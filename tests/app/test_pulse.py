"""The watchdog is fed only while every journal that has something to write moves."""

import io
from collections.abc import Iterator

import pytest
from loguru import logger

from batchd.app.pulse import STILL_LOOKS, Pulse
from batchd.app.roster import Roster
from batchd.core.status import ModelStatus
from batchd.daemon.controls import Controls
from batchd.daemon.ports import Batch
from batchd.daemon.status import StatusBoard
from tests.fakes.fake_clock import FakeClock
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.silent_service import SilentService


class Beating(MemoryJournal):
    """A journal whose pulse is set by the test."""

    beat: int | None = None

    @property
    def pulse(self) -> int | None:
        return self.beat


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{extra[event]} {extra[batch_id]}")
    yield lines
    logger.remove(sink)


class World:
    def __init__(self, *names: str) -> None:
        self.journals = {name: Beating() for name in names}
        held = {name: Batch(name, b"", journal, io.BytesIO()) for name, journal in self.journals.items()}
        self.pulse = Pulse(lambda: held)


def test_a_journal_that_stands_still_between_two_looks_does_not_move() -> None:
    world = World("a", "b")
    for beats, is_moving in (
        ((None, None), True),
        ((4, None), True),
        ((4, None), False),
        ((4, 9), False),
        ((5, 9), False),
        ((6, 10), True),
        ((None, 10), False),
        ((None, None), True),
        ((6, 10), True),
    ):
        world.journals["a"].beat, world.journals["b"].beat = beats
        assert world.pulse.moves() is is_moving, beats


def test_a_batch_that_left_is_forgotten() -> None:
    world = World("a")
    world.journals["a"].beat = 4
    held = {"a": Batch("a", b"", world.journals["a"], io.BytesIO())}
    pulse = Pulse(lambda: held)
    assert pulse.moves()
    held.clear()
    assert pulse.moves()


def test_a_batch_that_a_thread_takes_in_meanwhile_spoils_no_look() -> None:
    class Busy(Beating):
        """While it is looked at, the next one comes in."""

        @property
        def pulse(self) -> int | None:
            roster.hold(Batch(f"batch {len(roster.held)}", b"", Beating(), io.BytesIO()))
            return 1

    board = StatusBoard(MemorySpool(), SilentService(), FakeClock(), 1, list, list)
    roster = Roster(
        MemorySpool(), FakeClock(), Controls(MemorySpool(), FakeClock()), board, lambda path: Beating()
    )
    for name in "ab":
        roster.hold(Batch(name, b"", Busy(), io.BytesIO()))
    assert Pulse(lambda: roster.held).moves()
    assert not roster.waits_for_room
    assert len(roster.held) == 4


def test_a_standstill_is_said_once_and_a_pause_between_two_tries_is_not(said: list[str]) -> None:
    world = World("a")
    for step in range(3):
        world.journals["a"].beat = step
        for _ in range(STILL_LOOKS):
            world.pulse.moves()
    assert said == []
    for _ in range(3 * STILL_LOOKS):
        world.pulse.moves()
    assert said == ["journal_stands a\n"]


def test_without_movement_systemd_gets_its_status_and_no_ping() -> None:
    service, moves = SilentService(), True
    model = ModelStatus("ollama", "http://127.0.0.1:11434", "absent", "", 0, 0)
    board = StatusBoard(MemorySpool(), service, FakeClock(), 1, lambda: [model], list, lambda: moves)
    board.tick()
    moves = False
    board.tick()
    assert (service.pings, len(service.lines)) == (1, 2)
