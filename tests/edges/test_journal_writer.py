"""The writer's promises to those who wait, on a store that fails when told.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import errno
import threading
from collections.abc import Callable, Sequence

import lmdb
import pytest
from loguru import logger

from batchd.core.record import Event
from batchd.edges.journal.remarks import Remarks
from batchd.edges.journal.rows import Changes
from batchd.edges.journal.writer import GROUP_BYTES, GROUP_CHANGES, Retry, Writer
from batchd.errors import DamagedJournalError, FullJournalError, JournalError

#: Two tries without a pause worth noticing.
HASTY = Retry(tries=2, first_s=0.001, longest_s=0.001)
#: A store that is never let go fails the test, not the session.
GATE_S = 10


class ScriptedStore:
    """Raises what it was given, one for each commit; commits wait at the gate while it is shut."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.errors = list(errors)
        self.groups: list[int] = []
        self.is_full = False
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.book: Book | None = None

    def commit(self, changes: Sequence[Callable[[Changes], object]]) -> list[object]:
        self.calls.append("commit")
        self.entered.set()
        assert self.gate.wait(GATE_S)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.groups.append(len(changes))
        return [change(self.book) for change in changes]  # type: ignore[arg-type]  # what is used of rows

    def has_no_room(self, error: lmdb.Error) -> bool:
        return self.is_full

    def reopen(self) -> None:
        self.calls.append("reopen")
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


class Book:
    """Rows that only keep the notes."""

    def __init__(self, kept: list[str]) -> None:
        self.kept = kept

    def note(self, name: str, value: str) -> None:
        self.kept.append(value)


def nothing(rows: Changes) -> None:
    """A change."""


def ignored(remarks: Remarks) -> None:
    """Nothing to say."""


async def test_while_one_commit_is_on_its_way_the_next_group_forms() -> None:
    store = ScriptedStore()
    store.gate.clear()
    writer = Writer(store, HASTY)
    waits = [writer.record(nothing, 1)]
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    waits += [writer.record(nothing, 1) for _ in range(GROUP_CHANGES + 44)]
    store.gate.set()
    await asyncio.wait(waits)
    writer.close()
    assert store.groups == [1, GROUP_CHANGES, 44]


async def test_a_group_ends_at_its_bytes() -> None:
    store = ScriptedStore()
    store.gate.clear()
    writer = Writer(store, HASTY)
    waits = [writer.record(nothing, 1)]
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    waits += [writer.record(nothing, GROUP_BYTES // 2) for _ in range(5)]
    store.gate.set()
    await asyncio.wait(waits)
    writer.close()
    assert store.groups == [1, 2, 2, 1]


async def test_the_event_loop_is_woken_once_for_a_commit() -> None:
    wakes = 0
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe

    def counted(*arguments: object, **more: object) -> object:
        nonlocal wakes
        wakes += threading.current_thread().name == "journal"
        return wake(*arguments, **more)  # type: ignore[arg-type]  # handed on as they came

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]  # counts, then does its work
    store = ScriptedStore()
    store.gate.clear()
    writer = Writer(store, HASTY)
    first = writer.record(nothing, 1)
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    waits = [writer.record(nothing, 1) for _ in range(100)]
    store.gate.set()
    await asyncio.wait([first, *waits])
    writer.close()
    assert (store.groups, wakes) == ([1, 100], 2)


async def test_nothing_is_acknowledged_before_its_commit_is_over() -> None:
    store = ScriptedStore(lmdb.DiskError("no space"))
    store.gate.clear()
    writer = Writer(store, HASTY)
    wait = writer.record(nothing, 1)
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not wait.done()
    store.gate.set()
    await wait
    writer.close()
    assert store.calls == ["commit", "commit"]


@pytest.mark.parametrize("error", [lmdb.DiskError("28"), lmdb.MapFullError("full"), lmdb.Error("io", 5)])
async def test_when_the_tries_are_used_up_all_who_wait_are_told(error: lmdb.Error) -> None:
    store = ScriptedStore(error, error)
    store.gate.clear()
    writer = Writer(store, HASTY)
    waits = [writer.record(nothing, 1) for _ in range(GROUP_CHANGES + 10)]
    blocked = asyncio.get_running_loop().run_in_executor(None, writer.run, nothing)
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    store.gate.set()
    for wait in [*waits, blocked]:
        with pytest.raises(JournalError) as caught:
            await wait
        assert caught.value.next_step
    with pytest.raises(JournalError):
        writer.remark(ignored)
    writer.close()
    assert store.groups == []


async def test_after_a_panic_the_environment_is_opened_again_before_the_next_try() -> None:
    store = ScriptedStore(lmdb.Error("io", 5), lmdb.PanicError("panic"), None, None)
    writer = Writer(store, Retry(tries=3, first_s=0.001))
    await writer.record(nothing, 1)
    writer.close()
    assert store.calls == ["commit", "commit", "reopen", "commit"]


@pytest.mark.parametrize("failure", [lmdb.Error("io", 5), OSError(errno.EDQUOT, "Disk quota exceeded")])
async def test_a_reopening_that_fails_is_tried_again_once_for_each_try(failure: Exception) -> None:
    store = ScriptedStore(lmdb.PanicError("panic"), failure, None, None)
    writer = Writer(store, Retry(tries=3, first_s=0.001))
    await writer.record(nothing, 1)
    writer.close()
    assert store.calls == ["commit", "reopen", "reopen", "commit"]


async def test_after_three_reopenings_that_failed_everybody_is_told() -> None:
    broken = [lmdb.Error("io", 5)] * 3
    store = ScriptedStore(lmdb.PanicError("panic"), *broken, None)
    writer = Writer(store, Retry(tries=9, first_s=0.001))
    with pytest.raises(JournalError, match="opened again"):
        await writer.record(nothing, 1)
    writer.close()
    assert store.calls == ["commit", "reopen", "reopen", "reopen"]


async def test_what_a_panic_left_damaged_is_not_written_on() -> None:
    store = ScriptedStore(lmdb.PanicError("panic"), DamagedJournalError("counters"), None)
    writer = Writer(store, HASTY)
    with pytest.raises(DamagedJournalError):
        await writer.record(nothing, 1)
    writer.close()
    assert store.groups == []


async def test_on_a_full_disk_the_changes_wait_far_beyond_all_tries_and_nobody_is_told_of_a_failure() -> None:
    store = ScriptedStore(*[lmdb.DiskError("no space")] * 20)
    store.is_full = True
    writer = Writer(store, HASTY)
    waits = [writer.record(nothing, 1) for _ in range(10)]
    await asyncio.wait(waits)
    assert all(wait.exception() is None for wait in waits)
    assert not writer.waits_for_room
    writer.close()
    assert sum(store.groups) == 10


@pytest.mark.parametrize("is_full", [True, False])
async def test_a_full_disk_is_called_so_whatever_lmdb_calls_it(is_full: bool) -> None:
    store = ScriptedStore(lmdb.Error("Input/output error", 5), None)
    store.is_full = is_full
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), format="{message}")
    writer = Writer(store, HASTY)
    await writer.record(nothing, 1)
    writer.close()
    logger.remove(sink)
    [told] = said
    assert "Input/output error" in told
    assert ("No space left on the disk" in told) is is_full


async def test_on_a_full_disk_a_writer_that_may_not_wait_ends_with_that_reason() -> None:
    store = ScriptedStore(*[lmdb.DiskError("no space")] * 10_000)
    store.is_full = True
    writer = Writer(store, HASTY, lambda: False)
    with pytest.raises(FullJournalError, match="no space"):
        await asyncio.to_thread(writer.run, nothing)
    writer.close()


async def test_a_writer_that_is_closed_while_the_disk_is_full_comes_to_an_end() -> None:
    store = ScriptedStore(*[lmdb.DiskError("no space")] * 10_000)
    store.is_full = True
    writer = Writer(store, Retry(tries=2, first_s=0.001, longest_s=0.001))
    wait = writer.record(nothing, 1)
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    await asyncio.to_thread(writer.close)
    with pytest.raises(JournalError):
        await wait


def test_the_pauses_double_up_to_a_bound_and_end() -> None:
    assert list(Retry().pauses()) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])


async def test_a_disk_that_is_full_for_days_costs_bounded_memory_and_ends_nobody() -> None:
    """Seconds are counted and decisions made meanwhile; two answers that wait keep their place between."""
    store, day_s = ScriptedStore(), 86_400
    store.gate.clear()
    writer = Writer(store, HASTY)
    first = writer.record(nothing, 1)
    assert await asyncio.to_thread(store.entered.wait, GATE_S)
    for _ in range(day_s):
        writer.remark(lambda remarks: remarks.add_worked(1.0))
    second = writer.record(nothing, 1)
    for number in range(day_s):
        event = Event(float(number), "slots", "1", "2", "a decision")
        writer.remark(lambda remarks, event=event: remarks.log_event(event))  # type: ignore[misc]  # its own
    assert repr(writer) == "Writer(3 waiting)"
    store.gate.set()
    await asyncio.wait([first, second])
    writer.close()
    assert sum(store.groups) == 4


async def test_more_answers_may_wait_than_any_number_of_slots_that_was_thought_of() -> None:
    store = ScriptedStore()
    store.gate.clear()
    writer = Writer(store, HASTY)
    waits = [writer.record(nothing, 1) for _ in range(10_000)]
    store.gate.set()
    await asyncio.wait(waits)
    writer.close()
    assert sum(store.groups) == 10_000


async def test_remarks_keep_their_place_among_the_answers() -> None:
    store, order = ScriptedStore(), list[str]()
    store.gate.clear()
    writer = Writer(store, HASTY)
    store.book = Book(order)
    waits = []
    for number in range(3):
        writer.remark(lambda remarks, number=number: remarks.note("talk", f"before {number}"))  # type: ignore[misc]
        waits.append(writer.record(lambda _, number=number: order.append(f"answer {number}"), 1))  # type: ignore[misc]
    writer.remark(lambda remarks: remarks.note("talk", "after"))
    writer.remark(lambda remarks: remarks.note("talk", "at last"))
    store.gate.set()
    await asyncio.wait(waits)
    writer.close()
    assert order == [
        "before 0", "answer 0", "before 1", "answer 1", "before 2", "answer 2", "at last",
    ]  # fmt: skip


async def test_a_bug_in_a_change_reaches_everybody_and_ends_the_writing() -> None:
    writer = Writer(ScriptedStore(AssertionError("no such line")), HASTY)
    wait = writer.record(nothing, 1)
    with pytest.raises(AssertionError, match="no such line"):
        await wait
    with pytest.raises(AssertionError, match="no such line"):
        writer.remark(ignored)
    writer.close()


def test_closing_writes_what_still_waits_though_the_event_loop_has_ended() -> None:
    store = ScriptedStore()
    store.gate.clear()
    writer = Writer(store, HASTY)

    async def leave() -> None:
        for _ in range(3):
            writer.record(nothing, 1)

    asyncio.run(leave())
    store.gate.set()
    writer.close()
    assert sum(store.groups) == 3


def test_a_blocking_change_returns_what_the_last_try_returned() -> None:
    writer = Writer(ScriptedStore(lmdb.Error("io", 5)), HASTY)
    assert writer.run(lambda _: "taken") == "taken"
    writer.close()
