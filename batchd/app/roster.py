"""The roster: which batches are in the house, which is next, and what people ask of them.

SUMMARY
    `held` are accepted batches with an open journal; a paused one is put away with its journal closed, so
    that any number of them may wait, and holds up nobody. Recovered and resumed batches come before those
    that were just taken in, the oldest first.

    `obey` reads the control files of all of them, once a second. A pause is durable before its file goes,
    and so is the end of one.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
"""

import threading
from bisect import insort
from collections.abc import Callable, Mapping

from batchd.app.blocking import to_its_end
from batchd.app.closing import CANCELLED, close_early, go_on, pause_batch
from batchd.app.desk import Desk
from batchd.core.pause import NOT_PAUSED, PAUSE, Cause, Pause, pause_of
from batchd.core.pilot import findings_of
from batchd.core.record import Event
from batchd.core.summary import from_meta
from batchd.daemon import controls
from batchd.daemon.controls import Controls
from batchd.daemon.ports import Batch, Clock, Journal, Spool
from batchd.daemon.status import StatusBoard

ASKED = "batchd pause was typed"


class Roster:
    """All batches that were accepted and are not published."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        asked: Controls,
        board: StatusBoard,
        open_journal: Callable[[str], Journal],
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._controls = asked
        self._board = board
        self._open_journal = open_journal
        self._ready: list[tuple[float, str]] = []
        self._changing = threading.Lock()
        #: Replaced whole, never changed: a thread takes batches in, while the event loop walks over them.
        self.held: Mapping[str, Batch] = {}
        self.paused: dict[str, Pause] = {}

    def __repr__(self) -> str:
        return f"Roster({len(self.held)} held, {len(self._ready)} ready, {len(self.paused)} paused)"

    @property
    def ready_count(self) -> int:
        """Recovered and resumed batches that nobody has begun."""
        return len(self._ready)

    @property
    def waits_for_room(self) -> bool:
        """Whether something cannot become durable because the disk is full."""
        return any(batch.journal.waits_for_room for batch in self.held.values())

    def open(self, batch_id: str) -> Batch:
        """With its journal. Blocking."""
        journal = self._open_journal(self._spool.journal_path(batch_id))
        name = self._spool.original_name(batch_id) or b""
        batch = Batch(batch_id, name, journal, self._spool.open_input(batch_id))
        batch.pause = pause_of(journal.meta())
        return self.hold(batch)

    def hold(self, batch: Batch) -> Batch:
        """An accepted batch comes in."""
        with self._changing:
            self.held = {**self.held, batch.id: batch}
        return batch

    def _let_go(self, batch_id: str) -> None:
        with self._changing:
            self.held = {known: batch for known, batch in self.held.items() if known != batch_id}

    async def leave(self, batch_id: str) -> None:
        """It is published."""
        self._let_go(batch_id)
        await to_its_end(self._controls.close, batch_id)

    async def recover(self, batch: Batch) -> int:
        """One of an earlier life of the daemon; its lines. A paused one is put away."""
        meta = await to_its_end(batch.journal.meta)
        created_at, findings = from_meta(meta).created_at, findings_of(meta)
        progress = await to_its_end(batch.journal.progress)
        name = batch.name.decode("utf-8", "replace")
        self._board.enter(batch.id, name, "in_progress", progress)
        if findings is not None:
            self._board.estimate(batch.id, findings.words())
        self.obey_one(batch, None)
        if batch.pause is not None and batch.closing is None:
            await self.put_away(batch)
        else:
            insort(self._ready, (created_at, batch.id))
        return progress.total

    @property
    def ready_ids(self) -> list[str]:
        """Those that wait for their turn, the oldest first."""
        return [batch_id for _, batch_id in self._ready]

    def take(self, batch_id: str) -> Batch | None:
        """It has its turn; None where it does not wait here."""
        if batch_id not in self.ready_ids:
            return None
        self._ready = [entry for entry in self._ready if entry[1] != batch_id]
        return self.held[batch_id]

    async def put_away(self, batch: Batch) -> None:
        """A paused batch: what it noted is durable, its journal is closed, and the next one has its turn."""
        assert batch.pause is not None
        pause = batch.pause
        self._let_go(batch.id)
        batch.input.close()
        await to_its_end(batch.journal.forget_intents)  # read ahead and never sent
        await to_its_end(batch.journal.close)
        self.paused[batch.id] = pause
        self._board.pause(batch.id, pause)
        await to_its_end(self._controls.done, batch.id, controls.PAUSE)

    async def obey(self, desk: Desk | None) -> None:
        """Control files, of all accepted batches."""
        for batch in self.held.values():
            self.obey_one(batch, desk if desk is not None and desk.batch is batch else None)
        for batch_id in list(self.paused):
            if self._controls.is_cancelled(batch_id):
                await self._take_up(batch_id, "")
            elif self._controls.wish(batch_id) == controls.RESUME:
                await self._take_up(batch_id, controls.RESUME)

    def obey_one(self, batch: Batch, desk: Desk | None) -> None:
        """Repeating it is fine. A cancellation stays until the batch is published: so it outlives a crash."""
        now = self._clock.now()
        if self._controls.is_cancelled(batch.id):
            if desk is not None:
                desk.cancel()
            else:
                close_early(batch, CANCELLED, now)
                go_on(batch, now)
            return
        match self._controls.wish(batch.id), batch.pause:
            case controls.PAUSE, None:
                pause = Pause(Cause.ASKED, ASKED, now)
                if desk is not None:
                    desk.pause(pause)
                else:
                    pause_batch(batch, pause)
            case controls.RESUME, None:
                self._controls.done(batch.id, controls.RESUME)
            case controls.RESUME, _ if desk is None:  # it was not put away yet
                go_on(batch, now)

    async def _take_up(self, batch_id: str, verb: str) -> None:
        """The end of a pause: durable before its control file goes."""
        created_at = await to_its_end(self._end_pause, batch_id)
        if verb:
            await to_its_end(self._controls.done, batch_id, verb)
        batch = await to_its_end(self.open, batch_id)
        del self.paused[batch_id]
        self._board.pause(batch_id, None)
        self.obey_one(batch, None)
        insort(self._ready, (created_at, batch_id))

    def _end_pause(self, batch_id: str) -> float:
        journal = self._open_journal(self._spool.journal_path(batch_id))
        cause = self.paused[batch_id].cause.value
        try:
            journal.note(PAUSE, NOT_PAUSED)
            journal.log_event(Event(self._clock.now(), "resumed", cause, "in_progress", "asked for"))
            return from_meta(journal.meta()).created_at
        finally:
            journal.close()

    async def close(self) -> None:
        """Every journal, at the end of the house."""
        for batch in self.held.values():
            batch.input.close()
            await to_its_end(batch.journal.close)
