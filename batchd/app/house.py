"""The house: builds the rooms around one spool and one model server, and runs them until told to stop.

SUMMARY
    Recovery first; then three tasks side by side: take in (sweep, claim, accept), work (one batch after the
    other), and tick (status, watchdog, controls). At most `ACTIVE_BATCHES_MAX` accepted batches wait; the
    others stay in the inbox.

    `stop` begins the drain: nothing new is sent, what runs may end within `drain_s`, the rest is left for the
    next start. Nothing of it is lost.

DIAGNOSTICS
    Fatal: SpoolError, JournalError; the process ends with exit code 1 and systemd starts it again.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchd.app.blocking import to_its_end
from batchd.app.desk import CANCELLED, Desk, Tools, close_early
from batchd.core.governor import Change, Limits
from batchd.core.rules import Rules
from batchd.core.status import ModelStatus, StatusReport
from batchd.core.summary import from_meta
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch, Bell, Clock, Journal, ModelServer, ServiceManager, Spool
from batchd.daemon.publisher import Publisher
from batchd.daemon.recovery import recover
from batchd.daemon.status import StatusBoard
from batchd.daemon.supervisor import Supervisor
from batchd.edges.journal import Journal as LmdbJournal

#: Accepted batches in the house at one time: each holds an open journal.
ACTIVE_BATCHES_MAX = 16

#: A sweep is the truth about the inbox; the bell only makes it come sooner.
SWEEP_INTERVAL_S = 5.0

#: However short a file must lie still: a foreground run would list its inbox for nothing all the time.
SWEEP_PAUSE_S = 0.25

#: A model that nobody has needed for this long is put out, so that others may use the card.
IDLE_RELEASE_S = 300.0

#: Archived originals are looked through this often.
ARCHIVE_CHECK_S = 3_600.0

#: Cancellations remembered for batches that are not in the house yet; anybody may ask for any.
CANCELS_MAX = 1_000

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class Outside:
    """The edges, built for this spool and this server."""

    spool: Spool
    clock: Clock
    service: ServiceManager
    bell: Bell
    server: ModelServer
    final_name: Callable[[bytes, str], str]
    new_batch_id: Callable[[], str]
    describe_model: Callable[[Supervisor], ModelStatus]
    provenance: Callable[[Supervisor], dict[str, object]]
    pid: int


class House:
    """All rooms, wired."""

    def __init__(
        self,
        outside: Outside,
        rules: Rules,
        limits: Limits,
        settings_shown: dict[str, object],
        drain_s: float,
        only: frozenset[str] | None = None,
        on_tick: Callable[[StatusReport], None] = lambda report: None,
    ) -> None:
        self._on_tick = on_tick
        self._outside = outside
        self._rules = rules
        self._drain_s = drain_s
        self._only = only
        spool, clock = outside.spool, outside.clock
        self._supervisor = Supervisor(
            outside.server, clock, limits, self._on_change, waits_for_operator=only is None
        )
        self._intake = Intake(
            spool, clock, rules, lambda path: LmdbJournal.create(path), outside.new_batch_id, only
        )
        self.board = StatusBoard(
            spool,
            outside.service,
            clock,
            outside.pid,
            lambda: outside.describe_model(self._supervisor),
            lambda: self._intake.unclaimable,
        )
        self._tools = Tools(
            spool,
            clock,
            rules,
            self._supervisor,
            Publisher(spool),
            self.board,
            outside.final_name,
            lambda: outside.provenance(self._supervisor),
            settings_shown,
        )
        self._accepted: asyncio.Queue[Batch] = asyncio.Queue(ACTIVE_BATCHES_MAX)
        self._recovered: list[Batch] = []  # oldest first
        self._held: dict[str, Batch] = {}  # with an open journal
        self._cancelled: deque[str] = deque(maxlen=CANCELS_MAX)
        self._desk: Desk | None = None
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin the drain."""
        self._stopping.set()
        self._intake.stop()
        if self._desk is not None:
            self._desk.stop()

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Run until stopped, or until `until` says that all that was wanted is done."""
        try:
            to_accept = await self._recover()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._outside.bell.run()),
                    group.create_task(self._take_in(to_accept)),
                    group.create_task(self._tick(until)),
                ]
                working = group.create_task(self._work())
                await self._stopping.wait()
                self.board.become("draining")
                self._outside.service.stopping()
                await asyncio.wait({working}, timeout=self._drain_s if self._desk is not None else 0)
                await self._outside.bell.close()
                for task in (*tasks, working):
                    task.cancel()
        finally:
            await self._leave()

    async def _recover(self) -> list[str]:
        """Finish what a crash left; the ids that must be taken in (again)."""
        spool = self._outside.spool
        recovered = await to_its_end(recover, spool, lambda path: LmdbJournal.open(path))
        for batch_id in self._wanted(recovered.publish):
            batch = await to_its_end(self._open, batch_id)
            await to_its_end(self._tools.publisher.finish, batch)
            del self._held[batch_id]
        work = [await to_its_end(self._open, batch_id) for batch_id in self._wanted(recovered.work)]
        self._recovered = sorted(work, key=lambda batch: from_meta(batch.journal.meta()).created_at)
        for batch in self._recovered:
            name = batch.name.decode("utf-8", "replace")
            self.board.enter(batch.id, name, "in_progress", batch.journal.progress())
        return list(self._wanted(recovered.intake))

    def _wanted(self, batch_ids: Sequence[str]) -> list[str]:
        return [batch_id for batch_id in batch_ids if self._only is None or batch_id in self._only]

    def _open(self, batch_id: str) -> Batch:
        spool = self._outside.spool
        journal: Journal = LmdbJournal.open(spool.journal_path(batch_id))
        name = spool.original_name(batch_id) or b""
        return self._hold(Batch(batch_id, name, journal, spool.open_input(batch_id)))

    def _hold(self, batch: Batch) -> Batch:
        self._held[batch.id] = batch
        return batch

    async def _take_in(self, to_accept: list[str]) -> None:
        is_first = True
        while not self._stopping.is_set():
            room = ACTIVE_BATCHES_MAX - self._accepted.qsize() - len(to_accept) - len(self._recovered)
            to_accept += await to_its_end(self._intake.sweep, max(room, 0))
            if is_first:
                self.board.become("ready")
                self._outside.service.ready()
                is_first = False
            to_accept = await self._accept(to_accept)
            wait_s = min(SWEEP_INTERVAL_S, max(self._rules.settle_s, SWEEP_PAUSE_S))
            await self._outside.bell.wait(wait_s)

    async def _accept(self, batch_ids: list[str]) -> list[str]:
        """Take these in; those that still change are returned for later."""
        still_changing = []
        for batch_id in batch_ids:
            batch = await to_its_end(self._take, batch_id)
            if batch is None:
                still_changing.append(batch_id)
                continue
            progress = await to_its_end(batch.journal.progress)
            self.board.enter(batch_id, batch.name.decode("utf-8", "replace"), "validating", progress)
            self._cancel_if_asked(batch)
            await self._accepted.put(batch)
        return still_changing

    def _take(self, batch_id: str) -> Batch | None:
        batch = self._intake.accept(batch_id)
        return None if batch is None else self._hold(batch)

    async def _work(self) -> None:
        while not self._stopping.is_set():
            batch = await self._next_batch()
            if batch is None:
                await self._supervisor.release()
                continue
            if self._stopping.is_set():
                return
            self._desk = Desk(self._tools, batch)
            try:
                path = await self._desk.work()
            finally:
                self._desk = None
            if path is None:
                return
            del self._held[batch.id]

    async def _next_batch(self) -> Batch | None:
        """The next accepted batch; None after a while without one."""
        if self._recovered:
            batch = self._recovered.pop(0)
            self._cancel_if_asked(batch)
            return batch
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_RELEASE_S):
                return await self._accepted.get()
        return None

    async def _tick(self, until: Callable[[], bool]) -> None:
        expire_at = 0.0
        while True:
            self._on_tick(self.board.tick())
            if self._desk is not None:
                self._desk.tick(TICK_S)
            self._obey()
            now = self._outside.clock.monotonic()
            if now >= expire_at:
                expire_at = now + ARCHIVE_CHECK_S
                age_s = self._rules.archive_days * 86_400.0
                spool, wall = self._outside.spool, self._outside.clock.now()
                await to_its_end(spool.expire_archive, age_s, wall)
            if until():
                self.stop()
                return
            await self._outside.clock.sleep(TICK_S)

    def _obey(self) -> None:
        """Control files."""
        for batch_id, verb in self._outside.spool.take_controls():
            if verb != "cancel":
                continue
            if self._desk is not None and self._desk.batch.id == batch_id:
                self._desk.cancel()
            elif (batch := self._held.get(batch_id)) is not None:
                close_early(batch, CANCELLED, self._outside.clock.now())
            else:
                self._cancelled.append(batch_id)

    def _cancel_if_asked(self, batch: Batch) -> None:
        if batch.id in self._cancelled:
            close_early(batch, CANCELLED, self._outside.clock.now())

    def _on_change(self, change: Change) -> None:
        if self._desk is not None:
            self._desk.log_change(change)

    async def _leave(self) -> None:
        try:
            for batch in self._held.values():
                batch.input.close()
                await to_its_end(batch.journal.close)
        finally:
            await self._supervisor.release()
            await self._outside.server.close()
            self.board.become("stopped")
            self.board.tick()
