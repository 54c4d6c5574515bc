"""The desk: takes one accepted batch through dispatcher and publisher.

SUMMARY
    Sets the phase, lets the dispatcher work, and when every line has its outcome has the batch assembled and
    published; where the disk has no room for that, it is tried again until it has. It also decides why a
    batch closes early: refused at intake, cancelled, or expired where the operator enforces windows. A paused
    batch is left by `work` as it stands, for another desk to go on with.

DIAGNOSTICS
    Fatal: SpoolError, JournalError, from the rooms.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from batchd.app.account import SERVERS, AccountedModel, BatchAccount, servers_of
from batchd.app.blocking import to_its_end, with_room
from batchd.app.closing import (
    CANCELLED,
    EXPIRED,
    OUTGROWN,
    REFUSED,
    close_early,
    closings_of,
    facts_at_end,
    fault_of,
    go_on,
    pause_batch,
)
from batchd.app.judging import Judging
from batchd.app.piloting import Piloting
from batchd.app.servers import Servers
from batchd.core.fault import ModelFault
from batchd.core.ideal import SAMPLES_MAX, cached_tokens, measure_shared
from batchd.core.lifecycle import Phase
from batchd.core.limits import Change
from batchd.core.metrics import Run, build_metrics, listed_groups, token_scale
from batchd.core.options import window_s
from batchd.core.pause import Cause, Pause
from batchd.core.peaks import Peaks
from batchd.core.pilot import pilot_of
from batchd.core.provenance import account_of, render
from batchd.core.readings import Reading
from batchd.core.record import Event, Outcome, Progress
from batchd.core.report import report
from batchd.core.result import batch_object
from batchd.core.rules import Rules
from batchd.core.runaway import extra_of
from batchd.core.strategy import Strategy
from batchd.core.summary import Acceptance, from_meta
from batchd.core.talk import counts_of
from batchd.core.validity import settled
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.ports import Batch, Clock, Schemas, Spool
from batchd.daemon.publisher import Publisher
from batchd.daemon.status import StatusBoard

_T = TypeVar("_T")

#: The meta value that keeps the peaks of the readings over a restart.
_PEAKS = "peaks"


@dataclass(frozen=True, slots=True)
class Tools:
    """What the desk works with; built once by the house."""

    spool: Spool
    clock: Clock
    rules: Rules
    servers: Servers
    publisher: Publisher
    board: StatusBoard
    final_name: Callable[[bytes, str], str]
    settings_shown: Mapping[str, object]
    may_send: Callable[[], bool]
    on_full: Callable[[], None]
    schemas: Schemas


class Desk:
    """One batch at work."""

    def __init__(self, tools: Tools, batch: Batch) -> None:
        self._tools = tools
        self.batch = batch
        self._judging = Judging(batch.id, batch.journal, tools.clock, tools.rules, tools.schemas)
        seats = tools.servers.seats
        self._account = BatchAccount(batch.journal, seats)
        self._models = [AccountedModel(seat, self._account, self._judging) for seat in seats]
        self._piloting = Piloting(batch.id, batch.journal, tools.clock, self._judging, tools.rules.pilot)
        self._dispatcher = Dispatcher(
            batch,
            self._models,
            tools.clock,
            tools.spool,
            tools.rules,
            self._durable,
            tools.may_send,
            tools.on_full,
            lambda reason: self.pause(Pause(Cause.BREAKER, reason, tools.clock.now())),
        )
        self.acceptance: Acceptance | None = None  # while it is at work
        self._is_working = False
        self._is_publishing = self._is_stopped = False
        self._counted_at, self._was_ready = 0.0, False  # on the clock that nobody sets
        self._left_s = math.inf  # of the completion window, where the operator enforces it
        self._peaks = Peaks()
        self._reading: Reading | None = None

    def __repr__(self) -> str:
        return f"Desk({self.batch.id})"

    def stop(self) -> None:
        """Drain."""
        self._is_stopped = True
        self._dispatcher.stop()

    def cancel(self) -> None:
        """End what is pending as cancelled; too late for a batch that is being published."""
        if not self._is_publishing:
            close_early(self.batch, CANCELLED, self._tools.clock.now())

    def outgrow(self) -> bool:
        """End what is pending, because the batch takes too much; False where it is too late for that."""
        if not self._is_publishing:
            close_early(self.batch, OUTGROWN, self._tools.clock.now())
        return not self._is_publishing

    def pause(self, pause: Pause) -> None:
        """Send nothing new; `work` returns when what is in flight has ended. Too late for publishing."""
        if not self._is_publishing:
            pause_batch(self.batch, pause)
            self._dispatcher.stop()

    def log_change(self, change: Change, place: int | None = None) -> None:
        """A decision while this batch is at work; `place`: that of the server that it is about."""
        now, server = self._tools.clock.now(), ""
        if place is not None:
            self._models[place].log_change(change)
            server = self._models[place].name
        if self._is_publishing:  # its story is told, and its journal may be closed at any moment
            return
        self.batch.journal.log_event(
            Event(now, change.name, change.old, change.new, change.cause, change.evidence, server)
        )
        if place is not None:
            self._account.keep_edges()

    def add_reading(self, reading: Reading) -> None:
        """One more measurement of the machine, while this batch is at work."""
        peaks = self._peaks.with_reading(reading, self._reading)
        self._reading = reading
        if peaks != self._peaks and self._is_working:
            self._peaks = peaks
            self.batch.journal.note(_PEAKS, peaks.to_meta())

    def tick(self) -> None:
        """Now and then: count the time that the model was ours to use; has the batch expired?"""
        if not self._is_working:
            return
        self._count_time()
        if self._left_s <= 0:
            close_early(self.batch, EXPIRED, self._tools.clock.now())

    def _count_time(self) -> None:
        """Since the last look, where the model was ready then, or is now."""
        before, self._counted_at = self._counted_at, self._tools.clock.monotonic()
        was_ready, self._was_ready = self._was_ready, self._tools.servers.is_ready
        if was_ready or self._was_ready:
            self.batch.journal.add_worked(self._counted_at - before)
            self._left_s -= self._counted_at - before

    async def work(self) -> str | None:
        """The path of the result directory, or None when stopped or paused before the end."""
        tools = self._tools
        tools.servers.begin_account()
        acceptance, progress, closed_before = await to_its_end(self._begin)
        self.acceptance = acceptance
        if acceptance.refusals:
            self.batch.closing = REFUSED
        self.batch.closing = closed_before or self.batch.closing
        # The board belongs to the event loop, so it is not told from the threads.
        tools.board.enter(self.batch.id, acceptance.name, "in_progress", progress)
        self._is_working, self._counted_at = True, tools.clock.monotonic()
        try:
            is_finished = await self._dispatch()
            self._count_time()
        finally:
            self._is_working = False
        if not is_finished and not self._is_done_though_paused():
            return None
        self._is_publishing, self.acceptance = True, None
        go_on(self.batch, tools.clock.now())
        tools.board.enter(
            self.batch.id, acceptance.name, "finalizing", tools.board.progress_of(self.batch.id)
        )
        path = await self._with_room(lambda: self._publish(acceptance))
        if path is not None:
            tools.board.leave(self.batch.id)
            await self._with_room(lambda: tools.publisher.delete(self.batch))
        return path

    async def _with_room(self, step: Callable[[], _T]) -> _T | None:
        tools = self._tools
        return await with_room(step, tools.on_full, lambda: self._is_stopped, tools.clock.sleep)

    async def _dispatch(self) -> bool:
        """The pilot, where one is wanted, and the rest. False when stopped or paused."""
        batch, board = self.batch, self._tools.board
        lines = await to_its_end(self._piloting.wanted)
        if lines and batch.closing is None:
            self._judging.samples = []
            if not await self._dispatcher.work(lines):
                return False
            slots = max(1, sum(model.slots for model in self._models))
            pause = self._piloting.conclude(self._dispatcher.fuse.failed, slots)
            if pause is not None and batch.closing is None:
                await self._dispatcher.fuse.keep()
                self.pause(pause)
        if self._piloting.findings is not None:
            board.estimate(batch.id, self._piloting.findings.words())
        return await self._dispatcher.work()

    def _is_done_though_paused(self) -> bool:
        """A pause that came with the last answer has nothing to hold up."""
        progress = self._tools.board.progress_of(self.batch.id)
        return self.batch.pause is not None and progress.completed + progress.failed == progress.total

    def _begin(self) -> tuple[Acceptance, Progress, ModelFault | None]:
        journal, clock = self.batch.journal, self._tools.clock
        forgotten = journal.forget_intents()
        if journal.phase() is Phase.READY:
            journal.set_phase(Phase.IN_PROGRESS, {"in_progress_at": repr(clock.now())})
        elif forgotten:
            journal.log_event(Event(clock.now(), "requeued", str(forgotten), "0", "the daemon was restarted"))
        meta = journal.meta()
        self._account.begin(meta)
        acceptance = from_meta(meta)
        self._judging.extra = extra_of(meta)
        usual = acceptance.answers or self._tools.rules.answers
        self._judging.answers = settled(acceptance.options.answers, usual)
        progress = journal.progress()
        self._peaks = Peaks.from_meta(journal.meta().get(_PEAKS))
        if self._tools.rules.enforce_window:
            self._left_s = window_s(acceptance.options.completion_window) - progress.worked_s
        closings = closings_of(self.batch)
        return acceptance, progress, fault_of(closings[0]) if closings else None

    def _durable(self, outcome: Outcome) -> None:
        self._tools.board.durable(self.batch.id, outcome)

    def _publish(self, acceptance: Acceptance) -> str:
        tools, journal = self._tools, self.batch.journal
        if journal.phase() is Phase.PUBLISHING:  # sealed before the disk was full
            return tools.publisher.finish(self.batch)
        journal.flush()  # the last second of work, the latest decision
        progress, plan, meta = journal.progress(), journal.plan(), journal.meta()
        facts = facts_at_end(self.batch, acceptance, progress, tools.clock.now())
        account = account_of(meta)
        shares = journal.shares(listed_groups(plan.groups))
        shared = measure_shared(plan, token_scale(acceptance, progress), self._samples())
        told = render(account, tools.servers.provenance())
        memory = told.get("memory")
        told["memory"] = {**(memory if isinstance(memory, dict) else {}), **self._peaks.as_metrics()}
        metrics = build_metrics(
            self.batch.id,
            acceptance,
            progress,
            plan.groups,
            Run(
                float(meta["in_progress_at"]),
                tools.clock.now(),
                account,
                shared,
                shares,
                extra_of(meta),
                pilot_of(meta),
                servers_of(meta) if SERVERS in meta else (),
                counts_of(meta) if acceptance.strategy is Strategy.CONVERSATION else None,
            ),
            told,
            tools.settings_shown,
            journal.events(),
        )
        final_name = tools.final_name(self.batch.name, self.batch.id)
        page = report(batch_object(facts), metrics)
        tools.publisher.assemble(self.batch, final_name, facts, metrics, page)
        return tools.publisher.finish(self.batch)

    def _samples(self) -> Iterator[tuple[int, int]]:
        """Line index and cached tokens of the first answers, where the engine told."""
        for index, is_error, line in islice(self.batch.journal.results(), SAMPLES_MAX):
            cached = None if is_error else cached_tokens(line)
            if cached is not None:
                yield index, cached
