"""Answers on their way into partial/: in order, one append at a time, and never by the event loop."""

import threading

import pytest

from batchd.daemon.partial import KEPT_MAX, Partial
from batchd.errors import NoSpaceError, SpoolError
from tests.fakes.made_batch import ID
from tests.fakes.memory_spool import MemorySpool


class Disk(MemorySpool):
    """Remembers who appends, and fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self._at_work = threading.Lock()

    def append_partial(self, batch_id: str, lines: bytes) -> None:
        assert self._at_work.acquire(blocking=False), "two appends at the same time"
        try:
            self.threads.append(threading.current_thread())
            if self.error is not None:
                raise self.error
            super().append_partial(batch_id, lines)
        finally:
            self._at_work.release()

    def lines(self) -> list[bytes]:
        return self.partial.get(ID, b"").splitlines()


class World:
    def __init__(self) -> None:
        self.disk = Disk()
        self.full = 0
        self.partial = Partial(self.disk, ID, self._on_full)

    def _on_full(self) -> None:
        self.full += 1


async def test_lines_are_appended_in_their_order_by_a_thread_and_many_with_one_call() -> None:
    world = World()
    wanted = [b"%d" % number for number in range(100)]
    for line in wanted:
        world.partial.add(line)
        world.partial.show()
    assert repr(world.partial) == "Partial(99 waiting)"
    await world.partial.settle()
    assert world.disk.lines() == wanted
    assert len(world.disk.threads) == 2
    assert threading.main_thread() not in world.disk.threads


async def test_on_a_full_disk_they_wait_up_to_a_bound_and_are_tried_once_more_at_the_end() -> None:
    world = World()
    world.disk.error = NoSpaceError("no space left")
    for number in range(KEPT_MAX + 5):
        world.partial.add(b"%d" % number)
    world.partial.show()
    await world.partial.ended()
    assert (world.disk.lines(), world.full, len(world.partial)) == ([], 1, KEPT_MAX)
    world.disk.error = None
    await world.partial.settle()
    assert world.disk.lines() == [b"%d" % number for number in range(KEPT_MAX)]


async def test_another_trouble_of_the_file_costs_its_lines_and_nothing_else() -> None:
    world = World()
    world.disk.error = SpoolError("it is gone")
    world.partial.add(b"1")
    await world.partial.settle()
    world.disk.error = None
    world.partial.add(b"2")
    await world.partial.settle()
    assert (world.disk.lines(), world.full) == ([b"2"], 0)


async def test_a_bug_in_the_thread_is_raised() -> None:
    world = World()
    world.disk.error = ZeroDivisionError()
    world.partial.add(b"1")
    with pytest.raises(ZeroDivisionError):
        await world.partial.settle()
    assert isinstance(world.partial.fault, ZeroDivisionError)
