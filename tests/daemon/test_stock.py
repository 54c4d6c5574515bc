"""The stock: every line once, intents first, and no lane waits for nothing."""

import asyncio
import contextlib
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.dealer import Dealer, Dealt
from batchd.core.fault import LineFault
from batchd.core.lanes import Lanes
from batchd.core.lifecycle import Phase
from batchd.core.model import Source, Usage
from batchd.core.record import NO_REUSE, Group, LineRow, NewLine, Plan
from batchd.daemon.stock import READY_LINES_MAX, Item, Ready, Stock
from batchd.errors import JournalError
from tests.fakes.memory_journal import MemoryJournal

#: What stands in the lines is of no account here.
UNREAD = LineFault(1, "unread", "Nobody reads it.")


def journal_of(sizes: Sequence[int], prefix: int = 10) -> MemoryJournal:
    """A journal with groups of these sizes, one after the other."""
    journal = MemoryJournal()
    rows = [LineRow(10 * n, 9, 0, group, n + 1) for n, group in enumerate(_group_of(sizes))]
    journal.add_lines([NewLine(n, row) for n, row in enumerate(rows)])
    groups = tuple(
        Group("m", "/v1/chat/completions", sum(sizes[:n]), size, prefix, 100) for n, size in enumerate(sizes)
    )
    journal.accept(Plan(len(rows), groups, array("I", range(len(rows)))), {})
    journal.set_phase(Phase.IN_PROGRESS, {})
    return journal


def _group_of(sizes: Sequence[int]) -> list[int]:
    return [group for group, size in enumerate(sizes) for _ in range(size)]


def stock_of(journal: MemoryJournal, slots: int, taken: bytearray | None = None) -> Stock:
    plan = journal.plan()
    lanes = Lanes(plan.groups, plan.order, taken or bytearray(plan.line_count), 0)
    stock = Stock(journal, lanes, lambda row: UNREAD)
    assert stock.join(slots) == list(range(slots))
    return stock


@contextlib.asynccontextmanager
async def filling(stock: Stock) -> AsyncIterator[None]:
    """The stock is kept up for as long as the block lasts."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(stock.fill())
        yield
        task.cancel()


async def filled(stock: Stock) -> None:
    """Once, with all that there is."""
    async with filling(stock):
        while not stock.is_exhausted:
            await stock.wait(5.0)


async def emptied(stock: Stock, slots: int) -> list[int]:
    """Every slot takes until nothing is left, as lanes do."""
    given: list[int] = []

    async def lane(slot: int) -> None:
        while True:
            item = stock.take(slot)
            if item is not None:
                given.append(item.index)
                await asyncio.sleep(0)
            elif stock.is_exhausted:
                return
            else:
                await stock.wait(5.0)

    async with filling(stock), asyncio.TaskGroup() as group:
        for slot in range(slots):
            group.create_task(lane(slot))
    return given


@given(slots=st.integers(1, 8), sizes=st.lists(st.integers(0, 20), max_size=6), data=st.data())
def test_every_pending_line_is_given_once_and_no_lane_waits_forever(
    slots: int, sizes: list[int], data: st.DataObject
) -> None:
    total = sum(sizes)
    taken = bytearray(data.draw(st.lists(st.integers(0, 1), min_size=total, max_size=total)))
    given_lines = asyncio.run(emptied(stock_of(journal_of(sizes), slots, taken), slots))
    assert sorted(given_lines) == [index for index in range(total) if not taken[index]]


async def test_a_line_is_ready_only_after_its_intent_is_durable() -> None:
    acknowledged: list[int] = []

    class Watched(MemoryJournal):
        def intend(self, indices: Sequence[int]) -> "asyncio.Future[None]":
            done = super().intend(indices)
            done.add_done_callback(lambda _: acknowledged.extend(indices))
            return done

    journal = journal_of([12])
    journal.__class__ = Watched
    stock = stock_of(journal, 2)
    async with filling(stock):
        while (item := stock.take(0)) is not None or not stock.is_exhausted:
            assert item is None or item.index in acknowledged
            await asyncio.sleep(0)


async def test_no_slot_has_more_ready_than_the_bound() -> None:
    journal = journal_of([100])
    stock = stock_of(journal, 3)
    async with filling(stock):
        await stock.wait(5.0)
    assert repr(stock).startswith("Stock([4, 4, 4] ready")
    assert journal.forget_intents() == 3 * READY_LINES_MAX


async def test_a_slot_with_nothing_left_takes_from_the_fullest() -> None:
    stock = stock_of(journal_of([4]), 2)
    await filled(stock)
    assert stock.is_exhausted
    taken = [stock.take(1) for _ in range(4)]
    assert sorted(item.index for item in taken if item is not None) == [0, 1, 2, 3]
    assert stock.take(0) is None


async def test_a_slot_does_not_take_from_others_while_more_is_to_come() -> None:
    stock = stock_of(journal_of([40]), 2)
    async with filling(stock):
        await stock.wait(5.0)
        mine = [stock.take(0) for _ in range(READY_LINES_MAX + 1)]
    assert mine[-1] is None
    assert None not in mine[:-1]


async def test_waiting_ends_at_its_limit() -> None:
    stock = stock_of(journal_of([1]), 1)
    async with asyncio.timeout(5):
        await stock.wait(0.01)
    assert stock.take(0) is None


async def test_a_ring_that_nobody_waited_for_does_not_turn_waiting_into_spinning() -> None:
    """After filling, `wait` must give the loop to others again."""
    stock = stock_of(journal_of([2]), 1)
    async with filling(stock):
        await stock.wait(5.0)
        assert stock.take(0) is not None
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await stock.wait(0.01)
    assert turned.is_set()


async def test_a_journal_that_fails_ends_the_filling() -> None:
    class Failing(MemoryJournal):
        def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
            raise JournalError("unreadable")

    journal = journal_of([3])
    journal.__class__ = Failing
    with pytest.raises(JournalError, match="unreadable"):
        await stock_of(journal, 1).fill()


async def test_a_slot_with_nothing_left_rests_where_its_help_would_cost_more() -> None:
    stock = stock_of(journal_of([4], prefix=90_000), 2)
    await filled(stock)
    busy = 0 if stock.take(0) is not None else 1
    assert stock.take(1 - busy) is None
    assert stock.is_exhausted


async def test_slots_that_rest_do_not_keep_the_filling_awake() -> None:
    """One long beginning, one slot on it: the others wait without a ring."""
    stock = stock_of(journal_of([40], prefix=10**6), 3)
    async with filling(stock):
        await stock.wait(5.0)
        resting = [slot for slot in range(3) if stock.take(slot) is None]
        await stock.wait(0.05)  # the busy slot's own
        assert stock.take(resting[0]) is None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stock.wait(5.0)
    assert (len(resting), stock.is_exhausted) == (2, False)


async def test_a_beginning_that_is_never_reused_is_said_and_becomes_a_decision() -> None:
    journal = journal_of([12], prefix=400)
    stock = stock_of(journal, 1)
    async with filling(stock):
        for _ in range(8):
            while (item := stock.take(0)) is None:
                await stock.wait(5.0)
            item.learn(Usage(500, 5, 2, Source.ENGINE, 1.0, 1.0), 7.0)
    [event] = journal.events()
    assert (event.name, event.old, event.new, event.at) == (NO_REUSE, "400", "2", 7.0)
    Item(0, Ready(LineRow(0, 0, 0, 0, 1), None)).learn(Usage(500, 5, 2, Source.ENGINE, 1.0, 1.0), 7.0)
    assert len(journal.events()) == 1


async def test_what_a_server_that_leaves_had_ready_is_for_the_others() -> None:
    stock = stock_of(journal_of([40]), 2)
    others = stock.join(3)
    async with filling(stock):
        await stock.wait(5.0)
        first = stock.take(0)
        stock.leave([0, 1])
        given = [] if first is None else [first.index]
        while len(given) < 40:
            items = [item for lane in others if (item := stock.take(lane)) is not None]
            given += [item.index for item in items]
            if not items:
                await stock.wait(5.0)
    assert sorted(given) == list(range(40))
    assert stock.is_exhausted


async def test_what_is_being_read_for_a_server_that_leaves_meanwhile_is_not_lost() -> None:
    stock = stock_of(journal_of([8]), 2)
    async with filling(stock):
        await asyncio.sleep(0)  # the filling has picked, and waits for the rows
        stock.leave([0, 1])
        while stock.is_exhausted:  # noqa: ASYNC110 - a thread reads
            await asyncio.sleep(0)
        lanes, given = stock.join(1), set[int]()
        async with asyncio.timeout(5):
            while len(given) < 8:
                while (item := stock.take(lanes[0])) is None:
                    await stock.wait(0.05)
                given.add(item.index)
    assert given == set(range(8))


async def test_a_server_that_comes_back_begins_with_empty_slots_and_the_numbers_it_had() -> None:
    stock = stock_of(journal_of([4]), 2)
    stock.leave([0, 1])
    assert stock.join(2) == [0, 1]
    assert stock.join(1) == [2]


async def test_a_large_deal_is_made_off_the_event_loop_and_every_line_is_given_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dealers: set[threading.Thread] = set()
    for name in ("dealt", "improved"):
        make = getattr(Dealer, name)

        def made(self: Dealer, *numbers: int, make: Callable[..., Dealt] = make) -> Dealt:
            dealers.add(threading.current_thread())
            return make(self, *numbers)

        monkeypatch.setattr(Dealer, name, made)
    sizes = [1 + number % 3 for number in range(400)]
    stock = stock_of(journal_of(sizes), 4)
    given = await emptied(stock, 4)
    assert sorted(given) == list(range(sum(sizes)))
    assert dealers
    assert threading.main_thread() not in dealers


async def test_a_server_that_leaves_during_a_large_deal_makes_it_void(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_dealing, may_end = threading.Event(), threading.Event()
    dealt = Dealer.dealt

    def slow(self: Dealer, slot: int, left: int, turn: int) -> Dealt:
        is_dealing.set()
        assert may_end.wait(20)
        return dealt(self, slot, left, turn)

    monkeypatch.setattr(Dealer, "dealt", slow)
    stock = stock_of(journal_of([2] * 200), 4)
    others = stock.join(4)
    given: set[int] = set()
    async with filling(stock):
        while not is_dealing.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
        stock.leave([0, 1, 2, 3])
        may_end.set()
        async with asyncio.timeout(20):
            while len(given) < 400:
                items = [item for lane in others if (item := stock.take(lane)) is not None]
                assert given.isdisjoint(item.index for item in items)
                given.update(item.index for item in items)
                if not items:
                    await stock.wait(0.05)
    assert given == set(range(400))
