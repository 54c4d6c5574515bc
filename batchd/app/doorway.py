"""The doorway: sweeps the inbox, takes claimed files in, and holds what is accepted until it is worked on.

SUMMARY
    `run` is one task: sweep and claim, take in what was claimed and what waited long enough (a slice of each
    in turn), wait for the bell or for some seconds. At most `ACTIVE_BATCHES_MAX` accepted batches wait; the
    others stay in the inbox. Claimed ones that cannot be taken in yet do not count.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Literal

from batchd.app.blocking import to_its_end
from batchd.daemon.arrival import Turn
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch, Bell
from batchd.daemon.status import StatusBoard

#: Accepted batches in the house at one time: each holds an open journal.
ACTIVE_BATCHES_MAX = 16

#: A sweep is the truth about the inbox; the bell only makes it come sooner.
SWEEP_INTERVAL_S = 5.0

#: After a sweep of an inbox with a million names.
SWEEP_PAUSE_S_MAX = 30.0

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
        self._coming: deque[str] = deque()  # claimed, and being read
        self._accepted: dict[str, Batch] = {}
        self._came = asyncio.Event()

    async def run(
        self, is_stopping: Callable[[], bool], on_ready: Callable[[], None], recovered: Callable[[], int]
    ) -> None:
        """Until `is_stopping`. `recovered` counts the batches of an earlier run that still take room."""
        is_first, now = True, asyncio.get_running_loop().time
        try:
            while not is_stopping():
                room = max(0, ACTIVE_BATCHES_MAX - len(self._accepted) - recovered() - len(self._coming))
                # What waited may wait on, so it takes no room from the claims; what comes in takes it later.
                due = [batch_id for batch_id in self._intake.due() if batch_id not in self._coming][:room]
                began = now()
                fresh = await to_its_end(self._intake.sweep, room)
                # Whatever lies there, a sweep takes a fifth of the time at most.
                least_s = min(SWEEP_PAUSE_S_MAX, 4 * (now() - began))
                if is_first:
                    on_ready()
                    is_first = False
                self._coming.extend((*due, *fresh))
                pause_s = max(least_s, min(SWEEP_INTERVAL_S, max(self._intake.settle_s, SWEEP_PAUSE_S)))
                await self._take_turns(pause_s, is_stopping)
                if not self._coming and least_s > SWEEP_PAUSE_S:
                    await asyncio.sleep(least_s)  # whoever fills the inbox rings the bell all the time
                elif not self._coming:
                    await self._bell.wait(pause_s)
        finally:
            await to_its_end(self._intake.close)

    @property
    def accepted_ids(self) -> list[str]:
        """Those that wait for their turn, in the order in which they came in."""
        return list(self._accepted)

    def take(self, batch_id: str) -> Batch | None:
        """It has its turn; None where it does not wait here."""
        return self._accepted.pop(batch_id, None)

    async def wait_accepted(self, timeout_s: float) -> None:
        """Until one comes in, or for so long."""
        self._came.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._came.wait()

    async def _take_turns(self, duration_s: float, is_stopping: Callable[[], bool]) -> None:
        """One slice of each in turn, until none is left or it is time to sweep: no file holds up another."""
        now = asyncio.get_running_loop().time
        until = now() + duration_s
        while self._coming and now() < until and not is_stopping():
            batch_id = self._coming.popleft()
            if await self._take_in(batch_id):
                self._coming.append(batch_id)

    async def _take_in(self, batch_id: str) -> bool:
        """One slice. Whether there is more of it."""
        batch = await to_its_end(self._take, batch_id)
        if isinstance(batch, Batch):
            progress = await to_its_end(batch.journal.progress)
            name = batch.name.decode("utf-8", "replace")
            self._board.enter(batch_id, name, "validating", progress)
            self._on_accepted(batch)
            self._accepted[batch_id] = batch
            self._came.set()
        return batch is Turn.OVER

    def _take(self, batch_id: str) -> Batch | Literal[Turn.OVER] | None:
        """In the thread, so that a cancellation cannot come between the two and leave a journal open."""
        batch = self._intake.advance(batch_id)
        if isinstance(batch, Batch):
            self._hold(batch)
        return batch
