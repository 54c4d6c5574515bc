"""The doorway: sweeps the inbox, takes claimed files in, and holds what is accepted until it is worked on.

SUMMARY
    `run` is one task: sweep and claim, accept what was claimed and what waited long enough, wait for the bell
    or for some seconds. At most `ACTIVE_BATCHES_MAX` accepted batches wait; the others stay in the inbox.
    Claimed ones that cannot be taken in yet do not count.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
"""

import asyncio
import contextlib
from collections.abc import Callable

from batchd.app.blocking import to_its_end
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch, Bell
from batchd.daemon.status import StatusBoard

#: Accepted batches in the house at one time: each holds an open journal.
ACTIVE_BATCHES_MAX = 16

#: A sweep is the truth about the inbox; the bell only makes it come sooner.
SWEEP_INTERVAL_S = 5.0

#: However short a file must lie still: a foreground run would list its inbox for nothing all the time.
SWEEP_PAUSE_S = 0.25


class Doorway:
    """One batch after the other comes in. `on_accepted` runs before anybody works on it."""

    def __init__(
        self,
        intake: Intake,
        bell: Bell,
        board: StatusBoard,
        hold: Callable[[Batch], object],
        on_accepted: Callable[[Batch], None],
    ) -> None:
        self._intake = intake
        self._bell = bell
        self._board = board
        self._hold = hold
        self._on_accepted = on_accepted
        self._accepted: asyncio.Queue[Batch] = asyncio.Queue(ACTIVE_BATCHES_MAX)

    async def run(
        self, is_stopping: Callable[[], bool], on_ready: Callable[[], None], recovered: Callable[[], int]
    ) -> None:
        """Until `is_stopping`. `recovered` counts the batches of an earlier run that still take room."""
        is_first = True
        while not is_stopping():
            room = max(0, ACTIVE_BATCHES_MAX - self._accepted.qsize() - recovered())
            # What waited may wait on, so it takes no room from the claims; what comes in takes it later.
            due = self._intake.due()[:room]
            fresh = await to_its_end(self._intake.sweep, room)
            if is_first:
                on_ready()
                is_first = False
            for batch_id in (*due, *fresh):
                await self._take_in(batch_id)
            await self._bell.wait(min(SWEEP_INTERVAL_S, max(self._intake.settle_s, SWEEP_PAUSE_S)))

    async def next_accepted(self, timeout_s: float) -> Batch | None:
        """The next accepted batch; None after a while without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await self._accepted.get()
        return None

    async def _take_in(self, batch_id: str) -> None:
        batch = await to_its_end(self._take, batch_id)
        if batch is not None:
            progress = await to_its_end(batch.journal.progress)
            name = batch.name.decode("utf-8", "replace")
            self._board.enter(batch_id, name, "validating", progress)
            self._on_accepted(batch)
            await self._accepted.put(batch)

    def _take(self, batch_id: str) -> Batch | None:
        """In the thread, so that a cancellation cannot come between the two and leave a journal open."""
        batch = self._intake.accept(batch_id)
        if batch is not None:
            self._hold(batch)
        return batch
