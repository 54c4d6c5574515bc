"""The house: builds the rooms around one spool and its model servers, and runs them until told to stop.

SUMMARY
    Recovery first; then tasks side by side: take in (`doorway`), work (one batch after the other), and
    tick (status, watchdog, controls, the space on the disk); chores; and a lookout for the memory of the
    machine. While disk or memory are short, nothing is begun (`may_send`); what runs may end. A paused batch
    is put away (`roster`), and gives way to the next.

    `stop` begins the drain: nothing new is sent, what runs may end within `drain_s`, the rest is left for the
    next start. Nothing of it is lost.

DIAGNOSTICS
    Fatal: SpoolError, JournalError; the process ends with exit code 1 and systemd starts it again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from batchd.app.appetite import Appetite
from batchd.app.blocking import to_its_end
from batchd.app.chores import Chores
from batchd.app.desk import Desk, Tools
from batchd.app.doorway import Doorway
from batchd.app.outlook import Outlook
from batchd.app.outside import Outside
from batchd.app.pulse import Pulse
from batchd.app.roster import Roster
from batchd.app.servers import Servers
from batchd.app.turns import Turns
from batchd.core.limits import Change
from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.core.status import STOPPED, StatusReport
from batchd.daemon.controls import Controls
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch
from batchd.daemon.publisher import Publisher
from batchd.daemon.recovery import recover
from batchd.daemon.status import StatusBoard
from batchd.edges.journal import Journal as LmdbJournal

TICK_S = 1.0


class House:
    """All rooms, wired."""

    def __init__(
        self,
        outside: Outside,
        rules: Rules,
        settings_shown: dict[str, object],
        drain_s: float,
        only: frozenset[str] | None = None,
        on_tick: Callable[[StatusReport], None] = lambda report: None,
    ) -> None:
        self._is_leaving = False  # the drain is over
        self._on_tick = on_tick
        self._outside, self._rules = outside, rules
        self._drain_s = drain_s
        self._only = only
        spool, clock = outside.spool, outside.clock
        self._servers = Servers(
            outside.engines, clock, self._on_change, outside.provenance, waits_for_operator=only is None
        )
        self._servers.set_patience(rules.give_up_s)
        self.space = Space(spool.disk_bytes(), rules.reserve_bytes, spool.disk_files())
        self.outlook = Outlook(
            outside.gauges,
            outside.inhibitor,
            clock,
            self.space,
            lambda: self._desk,
            self._servers.press,
            self._servers.woke,
        )
        self._controls = Controls(spool, clock)
        self._chores = Chores(spool, self._controls, clock)
        self._intake = Intake(
            spool,
            clock,
            rules,
            self.space,
            partial(LmdbJournal.create, may_wait=lambda: not self._is_leaving),
            outside.new_batch_id,
            only,
            outside.schemas.refusal,
        )
        self.board = self._new_board()
        # For room on the disk nobody waits who leaves.
        self._open_journal = partial(LmdbJournal.open, may_wait=lambda: not self._is_leaving)
        self.roster = Roster(spool, clock, self._controls, self.board, self._open_journal)
        self._tools = Tools(
            spool,
            clock,
            rules,
            self._servers,
            Publisher(spool),
            self.board,
            outside.final_name,
            settings_shown,
            self.outlook.may_send,
            self.space.refuse,
            outside.schemas,
        )
        self._doorway = Doorway(
            self._intake,
            outside.bell,
            self.board,
            self.roster.hold,
            lambda batch: self.roster.obey_one(batch, None),
        )
        self._appetite = Appetite(spool, self.space)
        self._turns = Turns(spool, self.roster, self._doorway, self._intake.holdings.owner_of)
        self.published: dict[str, str] = {}  # with `only`: result directories by batch id
        self._desk: Desk | None = None
        self._stopping = asyncio.Event()

    def _new_board(self) -> StatusBoard:
        outside = self._outside
        return StatusBoard(
            outside.spool,
            outside.service,
            outside.clock,
            outside.pid,
            lambda: self._servers.describe(outside.describe_model),
            lambda: self._intake.unclaimable,
            Pulse(lambda: self.roster.held).moves,
            lambda: self._intake.waiting,
            self.outlook.notice,
            waits_for_operator=self._only is None,
        )

    @property
    def is_stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._stopping.is_set()

    def _is_open(self) -> bool:
        return not self.is_stopping

    def adopt(self, rules: Rules, settings_shown: dict[str, object], drain_s: float) -> None:
        """Other rules: at once for intake, archive and drain, from the next batch on for the work."""
        self._rules, self._drain_s = rules, drain_s
        self._intake.adopt(rules)
        self._servers.set_patience(rules.give_up_s)
        self._tools = replace(self._tools, rules=rules, settings_shown=settings_shown)

    def stop(self) -> None:
        """Begin the drain."""
        self._stopping.set()
        self._intake.stop()
        if self._desk is not None:
            self._desk.stop()

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Run until stopped, or until `until` says that all that was wanted is done."""
        try:
            await self._chores.begin()
            await self._turns.begin()
            await self._recover()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._outside.bell.run()),
                    group.create_task(
                        self._doorway.run(self._stopping.is_set, self._ready, lambda: self.roster.ready_count)
                    ),
                    group.create_task(self._tick(until)),
                    group.create_task(self._chores.run(lambda: self._rules.archive_days, self._is_open)),
                    group.create_task(self.outlook.run()),
                ]
                working = group.create_task(self._work())
                await self._stopping.wait()
                self.board.become("draining")
                self._outside.service.stopping(self._drain_s)
                await asyncio.wait({working}, timeout=self._drain_s if self._desk is not None else 0)
                self._is_leaving = True
                await self._outside.bell.close()
                for task in (*tasks, working):
                    task.cancel()
        finally:
            await self._leave()

    async def _recover(self) -> None:
        """Finish what a crash left, and let the rest go on where it stopped."""
        spool = self._outside.spool
        self.space.measure(spool.free_bytes(), spool.free_files())
        recovered = await to_its_end(recover, spool, self._open_journal)
        publisher, roster = self._tools.publisher, self.roster
        for batch_id in self._wanted(list(recovered.published)):
            path = await to_its_end(spool.result_path, batch_id)
            self._keep_path(batch_id, path or recovered.published[batch_id])
        work = [await to_its_end(roster.open, batch_id) for batch_id in self._wanted(recovered.work)]
        for batch_id in self._wanted(recovered.publish):
            batch = await to_its_end(roster.open, batch_id)
            if await to_its_end(publisher.is_sealed, batch):
                await self._leave_with(batch, await to_its_end(publisher.finish, batch))
                await to_its_end(publisher.delete, batch)
            else:
                await to_its_end(publisher.unseal, batch)
                work.append(batch)
        for batch in work:
            self.space.promise(batch.id, await roster.recover(batch))
            self._intake.enter(batch.id, is_accepted=True)
        for batch_id in self._wanted(recovered.intake):
            self._intake.enter(batch_id, is_accepted=False)

    def _ready(self) -> None:
        self.board.become("ready")
        self._outside.service.ready()

    def _wanted(self, batch_ids: Sequence[str]) -> list[str]:
        return [batch_id for batch_id in batch_ids if self._only is None or batch_id in self._only]

    async def _work(self) -> None:
        while not self._stopping.is_set():
            batch = await self._turns.next_batch(self._rules.idle_unload_s)
            if batch is None:
                await self._servers.release()
                continue
            if self._stopping.is_set():
                return
            path = await self._work_on(batch)
            if path is None and self._stopping.is_set():
                return
            self._turns.ended()
            if path is not None:
                await self._leave_with(batch, path)
            else:
                await self.roster.put_away(batch)

    async def _work_on(self, batch: Batch) -> str | None:
        """None: it was stopped, or is paused."""
        if batch.pause is not None and batch.closing is None:
            return None
        self._desk = Desk(self._tools, batch)
        try:
            return await self._desk.work()
        finally:
            self._desk = None

    async def _leave_with(self, batch: Batch, path: str) -> None:
        """It is published."""
        await self.roster.leave(batch.id)
        self._intake.leave(batch.id)
        await self._servers.forget(batch.id)
        self._keep_path(batch.id, path)

    def _keep_path(self, batch_id: str, path: str) -> None:
        if self._only is not None:
            self.published[batch_id] = path

    async def _tick(self, until: Callable[[], bool]) -> None:
        while True:
            spool = self._outside.spool
            self.space.measure(spool.free_bytes(), spool.free_files())
            if self.roster.waits_for_room:
                self.space.refuse()
            await self._obey()
            report = self.board.tick()
            self.board.show(report)
            self._on_tick(report)
            if self._desk is not None:
                self._desk.tick()
            await self._appetite.look(self._desk)
            if until():
                self.stop()
                return
            await self._outside.clock.sleep(TICK_S)

    async def _obey(self) -> None:
        """Control files, of all batches in the house."""
        await self.roster.obey(self._desk)
        for waiting in self._intake.waiting:
            if self._controls.is_cancelled(waiting.batch_id):
                self._intake.cancel(waiting.batch_id)

    def _on_change(self, place: int, change: Change) -> None:
        if self._desk is not None:
            self._desk.log_change(change, place)

    async def _leave(self) -> None:
        try:
            await self.roster.close()
        finally:
            await self._servers.release()
            await self._servers.close()
            self.board.become(STOPPED)
            await self.board.settle()
            self.board.show(self.board.tick())
            await self.board.settle()
