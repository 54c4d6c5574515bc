"""Dispatcher: keeps every slot of the model server busy until each request has its outcome.

SUMMARY
    Section by section (one load of the model each): make the model ready, then one task for each slot takes
    a line, sends it, hands the outcome to the ledger, and takes the next. There is no barrier: a slot never
    waits for another, except when the model server was lost; then all of them end, the model is made ready
    again, and the section goes on.

    What a fault leads to is decided in `core/retry`. Suspects run after the healthy ones, one at a time.

DIAGNOSTICS
    Fatal: JournalError, SpoolError; a line of our own copy whose CRC is wrong is a SpoolError.
    Warning: each fault that is not the submitter's, with its category.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

from loguru import logger

from batchd.core.fault import UNANSWERED, LineFault, ModelFault
from batchd.core.fit import window_for
from batchd.core.model import Answer, Load, Loaded
from batchd.core.record import Group, LineRow, Outcome, Plan
from batchd.core.request import Endpoint, LineLimits, Request, parse_line
from batchd.core.retry import Decision, Next, decide
from batchd.core.rules import Rules
from batchd.daemon.ledger import Ledger
from batchd.daemon.ports import Batch, Clock, ReadyModel, Spool
from batchd.daemon.section import Queue, Section, by_its_name, cut_by_window
from batchd.daemon.stock import Item, Stock
from batchd.errors import SpoolError

#: How long the other slots may go on after one of them found the model server lost. A server that is gone
#: fails them at once; one that hangs would hold them until their own limit.
LOST_GRACE_S = 5.0

#: A lane that finds nothing ready looks again after this long at the latest.
IDLE_CHECK_S = 0.25

#: While the disk is short of space, it is looked at this often whether that is over.
SPACE_CHECK_S = 1.0

#: Lines that are closed without an answer are read in blocks of this many.
CLOSE_BLOCK_LINES = 256


class Dispatcher:
    """Works through one batch."""

    def __init__(
        self,
        batch: Batch,
        model: ReadyModel,
        clock: Clock,
        spool: Spool,
        rules: Rules,
        on_durable: Callable[[Outcome], None],
        may_send: Callable[[], bool] = lambda: True,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._batch = batch
        self._model = model
        self._clock = clock
        self._rules = rules
        self._may_send = may_send
        self._ledger = Ledger(batch, spool, on_durable, on_full)
        self._stop = asyncio.Event()
        self._lost = asyncio.Event()

    def stop(self) -> None:
        """Drain: take nothing new. `work` returns when what runs has ended."""
        self._stop.set()

    async def work(self) -> bool:
        """Run until every line has its outcome (True), or until stopped (False)."""
        journal = self._batch.journal
        plan, finished, attempts = await asyncio.to_thread(
            lambda: (journal.plan(), journal.finished(), journal.attempts())
        )
        self._ledger.follow(plan)
        for section in self._sections(plan, finished):
            section.adopt_suspects(attempts)
            await self._run_section(section)
            await self._ledger.drain()
            if self._batch.closing is not None:
                logger.bind(event="closing", batch_id=self._batch.id).info(
                    "{} closes early: {}", self._batch.id, self._batch.closing.message
                )
                await self._close(section, self._batch.closing)
            elif self._stop.is_set():
                return False
        await self._ledger.drain()
        return True

    def _sections(self, plan: Plan, finished: bytearray) -> Iterator[Section]:
        def family(group: Group) -> tuple[str, str, int]:
            return self._rules.served_model(group.model), group.endpoint, group.load

        for (model, endpoint, _), run in groupby(plan.groups, key=family):
            groups = list(run)
            window = window_for((group.window_tokens for group in groups), self._rules.window_tokens_max)
            load = Load(model, window, self._rules.slots, endpoint == Endpoint.EMBEDDINGS)
            yield Section(load, groups, plan.order, finished, {})

    async def _run_section(self, section: Section) -> None:
        while not self._is_halted() and not section.is_done():
            loaded = await self._ready(section)
            if loaded is None:
                return
            if isinstance(loaded, ModelFault):
                await self._close(section, loaded)
                return
            await self._pump(section, loaded)
            if section.too_long and not self._lost.is_set():
                self._refit(section, loaded)
            elif section.alone and not self._is_paused():
                await self._pump_alone(section, loaded)

    async def _ready(self, section: Section) -> Loaded | ModelFault | None:
        """The model made ready; None when a stop ended the wait."""
        self._lost.clear()
        smallest = section.window_tokens_min()
        return await self._model.ensure(section.load, lambda: not self._is_halted(), smallest)

    async def _pump(self, section: Section, loaded: Loaded) -> None:
        """All lanes, until nothing is pending, or the server is lost, or we are stopped."""
        slots = max(loaded.slots, 1)
        stock = Stock(self._batch.journal, section.groups, section.order, section.taken(), slots)
        async with asyncio.TaskGroup() as group:
            lanes = {group.create_task(self._run_lane(section, loaded, stock, slot)) for slot in range(slots)}
            filling = group.create_task(stock.fill())
            warden = group.create_task(self._call_off(lanes))
            await asyncio.wait(lanes)
            filling.cancel()
            warden.cancel()

    async def _call_off(self, lanes: set[asyncio.Task[None]]) -> None:
        await self._lost.wait()
        await self._clock.sleep(LOST_GRACE_S)
        for lane in lanes:
            lane.cancel()

    async def _run_lane(self, section: Section, loaded: Loaded, stock: Stock, slot: int) -> None:
        while not self._is_paused():
            item = await self._next(section, stock, slot)
            if item is not None:
                await self._attempt(section, loaded, item, slot)
            elif not stock.is_exhausted:
                await stock.wait(IDLE_CHECK_S)
            elif section.again:
                await self._sleep_until_due(section.again)
            else:
                return

    async def _room(self) -> None:
        """Wait until the journal keeps up, and the disk has space for another answer."""
        await self._ledger.room()
        while not self._may_send() and not self._is_paused():
            await self._clock.sleep(SPACE_CHECK_S)

    async def _next(self, section: Section, stock: Stock, slot: int) -> Item | None:
        await self._room()
        if self._is_paused():
            return None
        index = section.again.take(self._clock.monotonic())
        return stock.take(slot) if index is None else await self._fetch(section, index)

    async def _sleep_until_due(self, queue: Queue) -> None:
        await self._clock.sleep(min(queue.left_s(self._clock.monotonic()), IDLE_CHECK_S))

    async def _pump_alone(self, section: Section, loaded: Loaded) -> None:
        """Suspects, one at a time: a death now has one cause."""
        while section.alone and not self._is_paused():
            await self._room()
            index = section.alone.take(self._clock.monotonic())
            if index is None:
                await self._sleep_until_due(section.alone)
            elif (item := await self._fetch(section, index)) is not None:
                await self._attempt(section, loaded, item, 0)

    async def _fetch(self, section: Section, index: int) -> Item | None:
        """A line that left the plan's order. None: we were stopped meanwhile, and it waits for its turn."""
        try:
            rows = await asyncio.to_thread(self._batch.journal.read_lines, [index])
            await self._batch.journal.intend([index])
        except asyncio.CancelledError:
            section.requeue(index, self._clock.monotonic())
            raise
        if self._is_paused():
            section.requeue(index, self._clock.monotonic())
            return None
        return Item(index, rows[0])

    async def _attempt(self, section: Section, loaded: Loaded, item: Item, slot: int) -> None:
        request = self._read(item.row)
        if isinstance(request, LineFault):
            section.finished[item.index] = 1
            self._ledger.refused(item.index, request)
            return
        served = replace(request, model=section.load.model)
        try:
            answer = await self._model.answer(served, slot, self._rules.request_timeout_s)
        except asyncio.CancelledError:
            section.requeue(item.index, self._clock.monotonic())
            raise
        if isinstance(answer, Answer):
            cut = cut_by_window(answer, request, loaded)
            if cut is None:
                section.finished[item.index] = 1
                self._ledger.answered(item.index, request, served.model, answer, self._clock.now(), slot)
                item.learn(slot, answer.usage, self._clock.now())
                return
            answer = cut
        self._failed(section, loaded, item, request, answer)

    def _failed(
        self, section: Section, loaded: Loaded, item: Item, request: Request, fault: ModelFault
    ) -> None:
        trial = section.trial(item.index, request, fault, loaded, self._rules.window_tokens_max)
        decision = decide(fault, trial, self._rules.attempts_max, self._clock.random())
        if fault.is_server_lost:
            self._model.suspect(fault)
            self._lost.set()
        section.place(item.index, decision, self._clock.monotonic())
        if decision.next is Next.GIVE_UP:
            fault = by_its_name(fault, request, loaded, self._rules.window_tokens_max)
            section.finished[item.index] = 1
            self._ledger.given_up(item.index, item.row.number, request.custom_id, fault, decision)
        else:
            self._ledger.attempted(item.index, fault, decision)
        if decision.next is not Next.GIVE_UP or fault.category in UNANSWERED:
            self._say(item.index, request.custom_id, fault, decision)

    def _refit(self, section: Section, loaded: Loaded) -> None:
        window = section.window_needed
        logger.bind(event="window", batch_id=self._batch.id).info(
            "window {} -> {} tokens for {} requests that are longer than estimated",
            loaded.window_tokens,
            window,
            len(section.too_long),
        )
        section.load = replace(section.load, window_tokens=window)
        for index in section.too_long:
            section.requeue(index, self._clock.monotonic())
        section.too_long.clear()

    async def _close(self, section: Section, fault: ModelFault) -> None:
        """Every pending line of the section ends with this fault."""
        pending = section.indices()
        for start in range(0, len(pending), CLOSE_BLOCK_LINES):
            block = pending[start : start + CLOSE_BLOCK_LINES]
            rows = await asyncio.to_thread(self._batch.journal.read_lines, block)
            for index, row in zip(block, rows, strict=True):
                attempts, crashes = section.counts.get(index, (0, 0))
                section.finished[index] = 1
                request = self._read(row)
                await self._ledger.room()
                if isinstance(request, LineFault):
                    self._ledger.refused(index, request)
                    continue
                decision = Decision(Next.GIVE_UP, attempts, crashes)
                self._ledger.given_up(index, row.number, request.custom_id, fault, decision)
        await self._ledger.drain()

    def _read(self, row: LineRow) -> Request | LineFault:
        self._batch.input.seek(row.offset)
        raw = self._batch.input.read(row.length)
        if zlib.crc32(raw) != row.crc:
            raise SpoolError(
                f"Line {row.number} of {self._batch.id} is not what intake read.",
                "The disk damaged processing/; move the batch's directory aside and hand the file in again.",
            )
        # What was accepted stays accepted, also where the operator has lowered the limit since.
        limits = LineLimits(row.length, self._rules.completion_tokens_default)
        return parse_line(raw, row.number, limits, None)

    def _is_paused(self) -> bool:
        """Nothing new is sent for now."""
        return self._is_halted() or self._lost.is_set()

    def _is_halted(self) -> bool:
        return self._stop.is_set() or self._batch.closing is not None

    def _say(self, index: int, custom_id: str, fault: ModelFault, decision: Decision) -> None:
        logger.bind(event="attempt_failed", batch_id=self._batch.id, custom_id=custom_id).warning(
            "{} request {}: {} ({}), attempt {}, next: {}",
            self._batch.id,
            index,
            fault.category.value,
            fault.message[:300],
            decision.attempts,
            decision.next.name.lower(),
        )
