"""The desk: takes one accepted batch through dispatcher and publisher.

SUMMARY
    Sets the phase, lets the dispatcher work, and when every line has its outcome has the batch assembled and
    published. It also decides why a batch closes early: refused at intake, cancelled, or expired where the
    operator enforces windows.

DIAGNOSTICS
    Fatal: SpoolError, JournalError, from the rooms.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchd.core.fault import Category, ModelFault
from batchd.core.governor import Change
from batchd.core.lifecycle import Phase
from batchd.core.metrics import Run, build_metrics
from batchd.core.options import window_s
from batchd.core.record import Event, Outcome
from batchd.core.result import BatchFacts
from batchd.core.rules import Rules
from batchd.core.summary import Acceptance, facts_of, from_meta
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.ports import Batch, Clock, Spool
from batchd.daemon.publisher import Publisher
from batchd.daemon.status import StatusBoard
from batchd.daemon.supervisor import State, Supervisor

REFUSED = ModelFault(
    Category.VALIDATION,
    "This request was not executed because the batch failed; see 'errors' in batch.json.",
    is_temporary=False,
    code="batch_failed",
)
EXPIRED = ModelFault(
    Category.EXPIRED,
    "This request could not be executed before the completion window expired.",
    is_temporary=False,
)
CANCELLED = ModelFault(
    Category.CANCELLED, "This request was not executed because the batch was cancelled.", is_temporary=False
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the desk works with; built once by the house."""

    spool: Spool
    clock: Clock
    rules: Rules
    supervisor: Supervisor
    publisher: Publisher
    board: StatusBoard
    final_name: Callable[[bytes, str], str]
    provenance: Callable[[], Mapping[str, object]]
    settings_shown: Mapping[str, object]


class Desk:
    """One batch at work."""

    def __init__(self, tools: Tools, batch: Batch) -> None:
        self._tools = tools
        self.batch = batch
        self._dispatcher = Dispatcher(
            batch, tools.supervisor, tools.clock, tools.spool, tools.rules, self._durable
        )
        self._moments: dict[str, float] = {}
        self._is_working = False
        self._left_s = math.inf  # of the completion window, where the operator enforces it

    def __repr__(self) -> str:
        return f"Desk({self.batch.id})"

    def stop(self) -> None:
        """Drain."""
        self._dispatcher.stop()

    def cancel(self) -> None:
        """End what is pending as cancelled."""
        self.batch.closing = CANCELLED
        self._moments["cancelling_at"] = self._tools.clock.now()

    def log_change(self, change: Change) -> None:
        """A decision of the governor while this batch is at work."""
        now = self._tools.clock.now()
        self.batch.journal.log_event(Event(now, change.name, change.old, change.new, change.cause))

    def tick(self, duration_s: float) -> None:
        """Once a second: count the time that the model was ours to use; has the batch expired?"""
        if not self._is_working or self._tools.supervisor.standing.state is not State.READY:
            return
        self.batch.journal.add_worked(duration_s)
        self._left_s -= duration_s
        if self._left_s <= 0:
            self.batch.closing = self.batch.closing or EXPIRED

    async def work(self) -> str | None:
        """The path of the result directory, or None when stopped before the end."""
        acceptance = await asyncio.to_thread(self._begin)
        self._is_working = True
        try:
            is_finished = await self._dispatcher.work()
        finally:
            self._is_working = False
        if not is_finished:
            return None
        return await asyncio.to_thread(self._publish, acceptance)

    def _begin(self) -> Acceptance:
        journal, clock = self.batch.journal, self._tools.clock
        forgotten = journal.forget_intents()
        if journal.phase() is Phase.READY:
            journal.set_phase(Phase.IN_PROGRESS, {"in_progress_at": repr(clock.now())})
        elif forgotten:
            journal.log_event(Event(clock.now(), "requeued", str(forgotten), "0", "the daemon was restarted"))
        acceptance = from_meta(journal.meta())
        if acceptance.refusals:
            self.batch.closing = REFUSED
        if self._tools.rules.enforce_window:
            self._left_s = window_s(acceptance.options.completion_window) - journal.progress().worked_s
        self._tools.board.enter(self.batch.id, acceptance.name, "in_progress", journal.progress())
        return acceptance

    def _durable(self, outcome: Outcome) -> None:
        self._tools.board.durable(self.batch.id, outcome)

    def _publish(self, acceptance: Acceptance) -> str:
        tools, journal = self._tools, self.batch.journal
        progress = journal.progress()
        tools.board.enter(self.batch.id, acceptance.name, "finalizing", progress)
        self._moments["finalizing_at"] = tools.clock.now()
        facts = self._facts(acceptance)
        started = float(journal.meta()["in_progress_at"])
        plan = journal.plan()
        metrics = build_metrics(
            self.batch.id,
            acceptance,
            progress,
            plan.groups,
            Run(started, tools.clock.now(), tools.supervisor.take_canary_tokens(), acceptance.prompt_tokens),
            tools.provenance(),
            tools.settings_shown,
            journal.events(),
        )
        final_name = tools.final_name(self.batch.name, self.batch.id)
        tools.publisher.assemble(self.batch, final_name, facts, metrics)
        path = tools.publisher.finish(self.batch)
        tools.board.leave(self.batch.id)
        return path

    def _facts(self, acceptance: Acceptance) -> BatchFacts:
        journal = self.batch.journal
        ended = {None: "completed", EXPIRED: "expired", CANCELLED: "cancelled", REFUSED: "failed"}
        status = ended[self.batch.closing]
        moments = {
            **self._moments,
            "in_progress_at": float(journal.meta()["in_progress_at"]),
            f"{status}_at": self._tools.clock.now(),
        }
        return facts_of(self.batch.id, acceptance, journal.progress(), status, moments)
