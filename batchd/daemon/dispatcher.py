"""Dispatcher: keeps every slot of the model server busy until each request has its outcome.

SUMMARY
    Section by section (one load of the model each): make the model ready, then one task for each slot takes
    a line, sends it, hands the outcome to the ledger, and takes the next. There is no barrier: a slot never
    waits for another, except when the model server was lost, or the governor has another chunk; then all of
    them end, the model is made ready again, and the section goes on.

    A model that is refused for good fails a few lines; many wait, after the other models, for a person.
    What a fault leads to is decided in `core/retry`. What a lost server held is tried at once, in halves, so
    that the guilty one is known before the next thousand are at risk.

DIAGNOSTICS
    Fatal: JournalError, SpoolError.
    Warning: none of its own; `sender` says each fault.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from loguru import logger

from batchd.core.breaker import WINDOW, refusal, trips_of
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load, Loaded
from batchd.core.pilot import mask_of
from batchd.core.record import Group, Outcome, Plan
from batchd.core.request import Endpoint
from batchd.core.rules import Rules
from batchd.core.strategy import strategy_of
from batchd.daemon.conversation import Conversation
from batchd.daemon.ending import close
from batchd.daemon.fuse import Fuse
from batchd.daemon.ports import Batch, Clock, ReadyModel, Spool
from batchd.daemon.section import Section
from batchd.daemon.sender import Sender
from batchd.daemon.stock import Item, Stock
from batchd.daemon.suspects import Company

#: How long the other slots may go on after one of them found the model server lost. A server that is gone
#: fails them at once; one that hangs would hold them until their own limit.
LOST_GRACE_S = 5.0

#: A lane that finds nothing ready looks again after this long at the latest.
IDLE_CHECK_S = 0.25

#: While the disk is short of space, it is looked at this often whether that is over.
SPACE_CHECK_S = 1.0


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
        on_blown: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._batch = batch
        self._model = model
        self._clock = clock
        self._rules = rules
        self._may_send = may_send
        self._ledger = Fuse(batch, spool, on_durable, self._blown, on_full)
        self._on_blown = on_blown
        self._refusal, self._is_pilot = "", False
        self._lines = Conversation(batch, rules, clock)
        self._sender = Sender(batch, model, clock, rules, self._lines, self._ledger)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Drain: take nothing new. `work` returns when what runs has ended."""
        self._stop.set()

    @property
    def fuse(self) -> Fuse:
        """Knows what failed for good, and what of it is not recorded yet."""
        return self._ledger

    async def work(self, only: Sequence[int] | None = None) -> bool:
        """Run until every line (of these) has its outcome (True), or until stopped (False).

        The latest failures of `only` wait in the fuse: the next `work` records them.
        """
        self._ledger.let_go()
        await self._ledger.drain()
        journal = self._batch.journal
        plan, finished, attempts, meta = await asyncio.to_thread(
            lambda: (journal.plan(), journal.finished(), journal.attempts(), journal.meta())
        )
        self._ledger.follow(plan, strategy_of(meta))
        self._lines.begin(meta, finished, only)
        self._ledger.begin(trips_of(meta))
        self._is_pilot = only is not None
        if only is not None:
            finished = mask_of(only, plan.line_count)
        refused: list[Section] = []
        for section in self._sections(plan, finished):
            section.adopt_suspects(attempts)
            await self._run_section(section)
            await self._ledger.drain()
            if self._batch.closing is not None:
                logger.bind(event="closing", batch_id=self._batch.id).info(
                    "{} closes early: {}", self._batch.id, self._batch.closing.message
                )
                await close(section, self._batch.closing, self._lines, self._ledger)
            elif self._stop.is_set():
                return False
            elif not section.is_done():
                refused.append(section)
        return await self._end(refused)

    async def _end(self, refused: Sequence[Section]) -> bool:
        """All sections had their turn; those whose model was refused are left."""
        if self._batch.closing is not None:
            for section in refused:
                await close(section, self._batch.closing, self._lines, self._ledger)
        elif refused:
            self._ledger.blow(self._refusal)
            await self._ledger.drain()
            return False
        if not self._is_pilot:
            self._ledger.let_go()
        await self._ledger.drain()
        return True

    def _blown(self, reason: str) -> None:
        self.stop()
        self._on_blown(reason)

    def _sections(self, plan: Plan, finished: bytearray) -> Iterator[Section]:
        def family(group: Group) -> tuple[str, str, int]:
            return self._rules.served_model(group.model), group.endpoint, group.load

        for (model, endpoint, _), run in groupby(plan.groups, key=family):
            groups = list(run)
            load = Load(
                model, self._lines.window_tokens(groups), self._rules.slots, endpoint == Endpoint.EMBEDDINGS
            )
            yield Section(load, groups, plan.order, finished, {})

    async def _run_section(self, section: Section) -> None:
        await self._lines.open(section)
        while not self._is_halted() and not section.is_done():
            company = section.suspects.first(self._clock.monotonic())
            loaded = await self._ready(section, company)
            if loaded is None:
                return
            if isinstance(loaded, ModelFault):
                self._refusal = refusal(loaded)
                is_large = self._is_pilot or section.pending_count() >= WINDOW
                if loaded.category is not Category.MODEL or not is_large:
                    await close(section, loaded, self._lines, self._ledger)
                return
            if company is None:
                await self._pump(section, loaded)
            else:
                await self._try(section, loaded, company)
            section.suspects.split()
            self._say_verdict(section)
            if section.too_long and not self._sender.lost.is_set():
                self._refit(section, loaded)
            elif section.suspects and not self._is_paused():
                await self._sleep_s(section.suspects.left_s(self._clock.monotonic()))

    async def _ready(self, section: Section, company: Company | None) -> Loaded | ModelFault | None:
        """The model made ready; None when a stop ended the wait."""
        self._sender.forget_loss()
        smallest = section.window_tokens_min()
        is_last = company is not None and section.is_last_trial(company)
        load = replace(section.load, slots=1) if is_last else section.load
        loaded = await self._model.ensure(load, lambda: not self._is_halted(), smallest)
        if isinstance(loaded, Loaded):
            self._sender.begin(loaded)
        return loaded

    def _say_verdict(self, section: Section) -> None:
        verdict = section.suspects.verdict()
        if verdict is not None:
            self._model.judged(*verdict)

    async def _pump(self, section: Section, loaded: Loaded) -> None:
        """All lanes, until nothing is pending, or the server is lost, or we are stopped."""
        slots = max(loaded.slots, 1)
        stock = Stock(self._batch.journal, self._lines.deal(section, loaded), slots)
        lanes = [self._run_lane(section, loaded, stock, slot) for slot in range(slots)]
        await self._run_all(lanes, stock.fill())

    async def _run_all(
        self, lanes: Sequence[Coroutine[None, None, None]], beside: Coroutine[None, None, None] | None = None
    ) -> None:
        """Until all lanes have ended; when the server is lost, they are called off."""
        async with asyncio.TaskGroup() as group:
            running = {group.create_task(lane) for lane in lanes}
            others = [group.create_task(self._call_off(running))]
            if beside is not None:
                others.append(group.create_task(beside))
            await asyncio.wait(running)
            for task in others:
                task.cancel()

    async def _try(self, section: Section, loaded: Loaded, company: Company) -> None:
        """Suspects, and nobody else: a death now is the doing of one of them."""
        section.suspects.take(company)
        waiting = deque(company.members)
        slots = range(min(max(loaded.slots, 1), len(waiting)))
        try:
            with self._sender.trial(is_alone=len(waiting) == 1):
                await self._run_all([self._run_trial(section, loaded, waiting, slot) for slot in slots])
        finally:
            section.suspects.put(waiting)

    async def _run_trial(self, section: Section, loaded: Loaded, waiting: "deque[int]", slot: int) -> None:
        while waiting and not self._is_paused():
            await self._room()
            if not waiting or self._is_paused():
                return
            item = await self._fetch(section, waiting.popleft())
            if item is not None:
                await self._sender.attempt(section, loaded, item, slot)

    async def _call_off(self, lanes: set[asyncio.Task[None]]) -> None:
        await self._sender.lost.wait()
        await self._clock.sleep(LOST_GRACE_S)
        for lane in lanes:
            lane.cancel()

    async def _run_lane(self, section: Section, loaded: Loaded, stock: Stock, slot: int) -> None:
        while not self._is_paused():
            item = await self._next(section, stock, slot)
            if item is not None:
                await self._sender.attempt(section, loaded, item, slot)
            elif not stock.is_exhausted:
                self._sender.idle()
                await stock.wait(IDLE_CHECK_S)
            elif section.again:
                self._sender.idle()
                await self._sleep_s(section.again.left_s(self._clock.monotonic()))
            else:
                self._sender.idle()
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

    async def _sleep_s(self, left_s: float) -> None:
        if left_s > 0:
            await self._clock.sleep(min(left_s, IDLE_CHECK_S))

    async def _fetch(self, section: Section, index: int) -> Item | None:
        """A line that left the plan's order. None: we were stopped meanwhile, and it waits for its turn."""
        try:
            item = await self._lines.fetch(index)
        except asyncio.CancelledError:
            section.requeue(index, self._clock.monotonic())
            raise
        if self._is_paused():
            section.requeue(index, self._clock.monotonic())
            return None
        return item

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

    def _is_paused(self) -> bool:
        """Nothing new is sent for now."""
        return self._is_halted() or self._sender.lost.is_set() or self._sender.turn.is_set()

    def _is_halted(self) -> bool:
        return self._stop.is_set() or self._batch.closing is not None
