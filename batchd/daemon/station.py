"""Station: one model server at work on one batch.

SUMMARY
    `work` takes part in a section until every line of it has its outcome: make the model ready, then one task
    for each slot takes a line, sends it, hands the outcome to the ledger, and takes the next. There is no
    barrier: a slot never waits for another, except when this server was lost, or its governor has another
    chunk; then its lanes end, its model is made ready again, and it goes on.

    What a lost server held is tried at once, in halves, so that the guilty one is known before the next
    thousand are at risk. Several stations share a section and its stock, and nothing else: what one of them
    had not sent, or its death made suspect, is for all of them.

DIAGNOSTICS
    Fatal: JournalError, SpoolError; UnavailableError as the supervisor raises it.
    Warning: none of its own; `sender` says each fault.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial

from loguru import logger

from batchd.core.fault import ModelFault
from batchd.core.model import Load, Loaded
from batchd.core.rules import Rules
from batchd.daemon.conversation import Conversation
from batchd.daemon.fuse import Fuse
from batchd.daemon.ports import Batch, Clock, ReadyModel
from batchd.daemon.section import Section
from batchd.daemon.sender import Sender
from batchd.daemon.stock import Item, Stock
from batchd.daemon.suspects import Company, Verdict

#: How long the other slots may go on after one of them found the model server lost. A server that is gone
#: fails them at once; one that hangs would hold them until their own limit.
LOST_GRACE_S = 5.0

#: A lane that finds nothing ready looks again after this long at the latest.
IDLE_CHECK_S = 0.25

#: While the disk is short of space, it is looked at this often whether that is over.
SPACE_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class Site:
    """What the stations of one batch share. `may_send`: there is room on the disk and in memory; `judge`: no
    suspect is left."""

    batch: Batch
    clock: Clock
    rules: Rules
    lines: Conversation
    ledger: Fuse
    may_send: Callable[[], bool]
    is_halted: Callable[[], bool]
    judge: Callable[[Verdict], None]


class Station:
    """One model server, its sender and its lanes."""

    def __init__(self, site: Site, model: ReadyModel) -> None:
        self._site = site
        self._model = model
        self._clock = site.clock
        self._sender = Sender(site.batch, model, site.clock, site.rules, site.lines, site.ledger)
        self._asked: Load | None = None

    def __repr__(self) -> str:
        return f"Station({self._model.name or 'alone'}, {self._sender})"

    async def work(self, section: Section, stock: Stock) -> ModelFault | None:
        """Take part until nothing is left, or all are halted; the fault for which this server cannot."""
        try:
            while not self._site.is_halted() and not section.is_done():
                fault = await self._turn(section, stock)
                if fault is not None:
                    return fault
            return None
        finally:
            section.loads.pop(self._model.number, None)

    async def _turn(self, section: Section, stock: Stock) -> ModelFault | None:
        """The model made ready, and used until it is lost, must change, or nothing is left for it."""
        company = self._company(section, stock)
        loaded = await self._ready(section, company)
        if not isinstance(loaded, Loaded):
            return loaded
        section.at_work += 1
        try:
            if company is None:
                await self._pump(section, stock, loaded)
            elif section.suspects.take(company):
                await self._try(section, loaded, company)
        finally:
            section.at_work -= 1
        section.suspects.split()
        verdict = section.suspects.verdict()
        if verdict is not None:
            self._site.judge(verdict)
        # Last, so that nobody else runs in the larger window.
        is_last = stock.is_exhausted and not section.again and not section.suspects
        if section.too_long and is_last and not self._sender.lost.is_set():
            self._refit(section, loaded)
        elif section.suspects and not self._is_paused(section):
            await self._sleep_s(section.suspects.left_s(self._clock.monotonic()))
        else:
            await self._rest(section, stock)
        return None

    async def _ready(self, section: Section, company: Company | None) -> Loaded | ModelFault | None:
        """The model made ready; None when a stop ended the wait."""
        self._sender.forget_loss()
        self._asked = section.load
        smallest = section.window_tokens_min()
        is_last = company is not None and section.is_last_trial(company)
        load = replace(section.load, slots=1) if is_last else section.load
        loaded = await self._model.ensure(load, lambda: not self._site.is_halted(), smallest)
        if isinstance(loaded, Loaded):
            section.loads[self._model.number] = loaded
            self._sender.begin(loaded, load.window_tokens)
        return loaded

    async def _rest(self, section: Section, stock: Stock) -> None:
        """Others hold all that is left; some of it may come back. What nobody holds has a place, or we would
        turn for ever."""
        waits = section.again or section.suspects or section.too_long or not stock.is_exhausted
        is_nowhere = not section.at_work and not waits and not self._is_paused(section)
        assert not is_nowhere or section.is_done(), f"lines without an outcome are nowhere: {section}"
        while (
            section.at_work
            and stock.is_exhausted
            and not (section.again or section.suspects or section.too_long)
            and not self._is_paused(section)
        ):
            await self._clock.sleep(IDLE_CHECK_S)

    async def _pump(self, section: Section, stock: Stock, loaded: Loaded) -> None:
        """All lanes, until nothing is pending, or the server is lost, or we are stopped."""
        lanes = stock.join(max(loaded.slots, 1))
        try:
            await self._run_all(
                [self._run_lane(section, loaded, stock, slot, lane) for slot, lane in enumerate(lanes)]
            )
        finally:
            stock.leave(lanes)

    async def _run_all(self, lanes: Sequence[Coroutine[None, None, None]]) -> None:
        """Until all lanes have ended; when the server is lost, they are called off."""
        async with asyncio.TaskGroup() as group:
            running = {group.create_task(lane) for lane in lanes}
            calling_off = group.create_task(self._call_off(running))
            await asyncio.wait(running)
            calling_off.cancel()

    async def _try(self, section: Section, loaded: Loaded, company: Company) -> None:
        """Suspects, and nobody else: a death now is the doing of one of them."""
        waiting = deque(company.members)
        slots = range(min(max(loaded.slots, 1), len(waiting)))
        try:
            with self._sender.trial(is_alone=len(waiting) == 1):
                await self._run_all([self._run_trial(section, loaded, waiting, slot) for slot in slots])
        finally:
            section.suspects.put(waiting)

    async def _run_trial(self, section: Section, loaded: Loaded, waiting: "deque[int]", slot: int) -> None:
        while waiting and not self._is_paused(section):
            await self._room(section)
            if not waiting or self._is_paused(section):
                return
            item = await self._fetch(section, waiting.popleft())
            if item is not None:
                await self._sender.attempt(section, loaded, item, slot)

    async def _call_off(self, lanes: set[asyncio.Task[None]]) -> None:
        await self._sender.lost.wait()
        await self._clock.sleep(LOST_GRACE_S)
        for lane in lanes:
            lane.cancel()

    async def _run_lane(self, section: Section, loaded: Loaded, stock: Stock, slot: int, lane: int) -> None:
        while not self._is_paused(section):
            item = await self._next(section, stock, loaded, lane)
            if item is not None:
                await self._sender.attempt(section, loaded, item, slot)
            elif not stock.is_exhausted:
                self._sender.idle()
                await stock.wait(IDLE_CHECK_S)
            elif section.again:
                self._sender.idle()
                await self._sleep_s(section.again.left_s(self._clock.monotonic()) or IDLE_CHECK_S)
            else:
                self._sender.idle()
                return

    async def _room(self, section: Section) -> None:
        """Wait until the journal keeps up, and the disk has space for another answer."""
        await self._site.ledger.room()
        while not self._site.may_send() and not self._is_paused(section):
            await self._clock.sleep(SPACE_CHECK_S)

    async def _next(self, section: Section, stock: Stock, loaded: Loaded, lane: int) -> Item | None:
        await self._room(section)
        if self._is_paused(section):
            return None
        now = self._clock.monotonic()
        fits = partial(section.fits, loaded=loaded)
        index = section.again.take(now, fits, may_be_late=False)
        item = stock.take(lane) if index is None else None
        if index is None and item is None and stock.is_exhausted:
            index = section.again.take(now, fits)
        return item if index is None else await self._fetch(section, index)

    async def _sleep_s(self, left_s: float) -> None:
        if left_s > 0:
            await self._clock.sleep(min(left_s, IDLE_CHECK_S))

    async def _fetch(self, section: Section, index: int) -> Item | None:
        """A line that left the plan's order. None: we were stopped meanwhile, and it waits for its turn."""
        try:
            item = await self._site.lines.fetch(index)
        except asyncio.CancelledError:
            section.requeue(index, self._clock.monotonic())
            raise
        if self._is_paused(section):
            section.requeue(index, self._clock.monotonic())
            return None
        return item

    def _company(self, section: Section, stock: Stock) -> Company | None:
        """Suspects that this server may try now. Those that hung wait until nobody else does."""
        loaded = section.loads.get(self._model.number)
        is_last = stock.is_exhausted and not section.again
        fits = (lambda index: True) if loaded is None else partial(section.fits, loaded=loaded)
        return section.suspects.first(self._clock.monotonic(), fits, may_be_late=is_last)

    def _refit(self, section: Section, loaded: Loaded) -> None:
        count = section.widen(self._clock.monotonic())
        logger.bind(event="window", batch_id=self._site.batch.id).info(
            "window {} -> {} tokens for {} requests that are longer than estimated",
            loaded.window_tokens,
            section.load.window_tokens,
            count,
        )

    def _is_paused(self, section: Section) -> bool:
        """Nothing new is sent for now. Where another server's lines need a larger window, all get it."""
        is_other = self._asked is not section.load
        return self._site.is_halted() or self._sender.lost.is_set() or self._sender.turn.is_set() or is_other
