"""The pulse of the writer: who looks from outside sees whether the disk moves."""

import threading
import time
from collections.abc import Callable, Sequence

import lmdb

from batchd.edges.journal.rows import Changes
from batchd.edges.journal.writer import Retry, Writer

#: A wait that ends here is a hang.
WAIT_S = 10.0


class SlowStore:
    """A disk that takes nothing while its gate is shut, and fails as often as it was told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.entered = threading.Event()
        self.gate = threading.Event()

    def commit(self, changes: Sequence[Callable[[Changes], object]]) -> list[object]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.failures:
            self.failures -= 1
            raise lmdb.DiskError("no room")
        return []

    def has_no_room(self, error: lmdb.Error) -> bool:
        return False

    def reopen(self) -> None:
        raise AssertionError("nothing panicked")


def until(is_so: Callable[[], bool]) -> None:
    end = time.perf_counter() + WAIT_S
    while not is_so():
        assert time.perf_counter() < end
        time.sleep(0.001)


def test_a_writer_without_work_has_no_pulse_and_one_that_hangs_has_the_same_twice() -> None:
    store = SlowStore()
    writer = Writer(store, Retry())
    idle = writer.pulse
    assert idle is None
    writer.remark(lambda remarks: None)
    assert store.entered.wait(WAIT_S)
    first = writer.pulse
    assert first is not None
    writer.remark(lambda remarks: None)
    assert writer.pulse == first
    store.gate.set()
    until(lambda: writer.pulse is None)
    writer.close()


def test_a_commit_that_is_tried_again_is_a_step() -> None:
    store = SlowStore(failures=3)
    store.gate.set()
    writer = Writer(store, Retry(tries=5, first_s=0.05, longest_s=0.05))
    writer.remark(lambda remarks: None)
    seen = set()

    def is_done() -> bool:
        seen.add(writer.pulse)
        return store.failures == 0 and writer.pulse is None

    until(is_done)
    assert len(seen - {None}) >= 3
    writer.close()
