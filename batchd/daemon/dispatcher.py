"""Dispatcher: keeps every slot of the model servers busy until each request has its outcome.

SUMMARY
    Section by section (one load of the model each), with one `station` for each server: they share the
    section and its stock of lines. A server that is lost, cools or is given up leaves its part to the others;
    the section is left when it is done, or when none of them can have the model.

    A model that is refused for good fails a few lines; many wait, after the other models, for a person.

DIAGNOSTICS
    Fatal: JournalError, SpoolError.
    Warning: a server that takes no further part in a section, where there are others.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from loguru import logger

from batchd.core.breaker import WINDOW, refusal, trips_of
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load
from batchd.core.pilot import mask_of
from batchd.core.record import Group, Outcome, Plan
from batchd.core.request import Endpoint
from batchd.core.rules import Rules
from batchd.core.standing import shortened
from batchd.core.strategy import strategy_of
from batchd.daemon.conversation import Conversation
from batchd.daemon.ending import close
from batchd.daemon.fuse import Fuse
from batchd.daemon.ports import Batch, Clock, ReadyModel, Spool
from batchd.daemon.section import Section
from batchd.daemon.station import Site, Station
from batchd.daemon.stock import Stock
from batchd.daemon.suspects import Verdict
from batchd.errors import UnavailableError


class Dispatcher:
    """Works through one batch."""

    def __init__(
        self,
        batch: Batch,
        models: Sequence[ReadyModel],
        clock: Clock,
        spool: Spool,
        rules: Rules,
        on_durable: Callable[[Outcome], None],
        may_send: Callable[[], bool] = lambda: True,
        on_full: Callable[[], None] = lambda: None,
        on_blown: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._batch = batch
        self._models = models
        self._rules = rules
        self._ledger = Fuse(batch, spool, on_durable, self._blown, on_full)
        self._on_blown = on_blown
        self._refusal, self._is_pilot = "", False
        self._lines = Conversation(batch, rules, clock)
        site = Site(batch, clock, rules, self._lines, self._ledger, may_send, self._is_halted, self._judge)
        self._stations = [Station(site, model) for model in models]
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
        try:
            return await self._work(only)
        finally:
            await self._ledger.leave()

    async def _work(self, only: Sequence[int] | None) -> bool:
        self._ledger.let_go()
        await self._ledger.drain()
        journal = self._batch.journal
        plan, finished, attempts, meta = await asyncio.to_thread(
            lambda: (journal.plan(), journal.finished(), journal.attempts(), journal.meta())
        )
        await asyncio.to_thread(self._ledger.follow, plan, strategy_of(meta))
        self._lines.begin(meta, finished, only)
        self._ledger.begin(trips_of(meta))
        self._is_pilot = only is not None
        if only is not None:
            finished = mask_of(only, plan.line_count)
        refused: list[Section] = []
        sections = self._sections(plan, finished)
        while (section := await asyncio.to_thread(next, sections, None)) is not None:
            await asyncio.to_thread(section.adopt_suspects, attempts)
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
            window_tokens, is_embedding = self._lines.window_tokens(groups), endpoint == Endpoint.EMBEDDINGS
            load = Load(model, window_tokens, self._rules.slots, is_embedding, accepts_larger=True)
            yield Section(load, groups, plan.order, finished, {})

    async def _run_section(self, section: Section) -> None:
        """Until it is done, or we are halted, or no server can have its model."""
        await self._lines.open(section)
        lanes = await asyncio.to_thread(self._lines.deal, section)
        stock = Stock(self._batch.journal, lanes, self._lines.read)
        section.servers = len(self._stations)
        async with asyncio.TaskGroup() as group:
            filling = group.create_task(stock.fill())
            parts = {
                group.create_task(self._take_part(station, section, stock)) for station in self._stations
            }
            refused = await self._watch(section, parts)
            for task in (filling, *parts):
                task.cancel()  # who still waits for a server has nothing left to do on it
        if refused is not None:
            self._refusal = refusal(refused)
            is_large = self._is_pilot or section.pending_count() >= WINDOW
            if refused.category is not Category.MODEL or not is_large:
                await close(section, refused, self._lines, self._ledger)

    async def _take_part(self, station: Station, section: Section, stock: Stock) -> ModelFault | None:
        """None: all is done, or we are halted. Else the fault that ended this server's part."""
        try:
            return await station.work(section, stock)
        except UnavailableError as error:
            if section.servers == 1:
                raise
            return ModelFault(Category.MODEL, error.message, is_temporary=False, needs_operator=True)
        finally:
            section.servers -= 1

    async def _watch(
        self, section: Section, parts: "set[asyncio.Task[ModelFault | None]]"
    ) -> ModelFault | None:
        """Until all is done, or nobody takes part any more; then the fault of the last one."""
        while True:
            ended, parts = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            faults = [task.result() for task in ended]  # an exception ends the others too
            if not parts:
                return None if None in faults else faults[-1]
            for fault in filter(None, faults):
                logger.bind(event="server_leaves", batch_id=self._batch.id).warning(
                    "a server takes no further part in this: {}; {} go on", shortened(fault), len(parts)
                )
            if None in faults and not section.at_work:
                return None

    def _judge(self, verdict: Verdict) -> None:
        for model in self._models:
            model.judged(verdict.guilty, verdict.deaths.get(model.number, 0))

    def _is_halted(self) -> bool:
        return self._stop.is_set() or self._batch.closing is not None
