"""Turns: takes the next batch from those that wait, owner by owner (`core/rota`), also after a restart.

SUMMARY
    Recovered and resumed batches wait in the roster, those that were just taken in at the doorway. Who was
    served is kept in the spool when a batch begins: a crash in between costs an owner one turn at most.

DIAGNOSTICS
    Fatal: SpoolError. A full disk is none: the order is then kept in memory only.
"""

from collections.abc import Callable

from batchd.app.blocking import to_its_end
from batchd.app.doorway import Doorway
from batchd.app.roster import Roster
from batchd.core import rota
from batchd.daemon.ports import Batch, Spool
from batchd.errors import NoSpaceError

#: While nothing is at work, it is looked this often whether a batch was resumed.
RESUMED_CHECK_S = 1.0


class Turns:
    """`owner_of`: the user id of whoever handed a batch in."""

    def __init__(
        self, spool: Spool, roster: Roster, doorway: Doorway, owner_of: Callable[[str], int]
    ) -> None:
        self._spool = spool
        self._roster = roster
        self._doorway = doorway
        self._owner_of = owner_of
        self._rota = rota.Rota()

    def __repr__(self) -> str:
        return f"Turns({self._rota})"

    async def begin(self) -> None:
        """What an earlier life of the daemon kept."""
        self._rota = rota.parse(await to_its_end(self._spool.turns))

    async def next_batch(self, timeout_s: float) -> Batch | None:
        """Whose turn it is; None after a while without anybody who waits."""
        left_s = timeout_s
        while left_s > 0:
            waiting = [*self._roster.ready_ids, *self._doorway.accepted_ids]
            chosen = self._rota.choose([(batch_id, self._owner_of(batch_id)) for batch_id in waiting])
            if chosen is not None:
                await self._keep(self._rota.begun(chosen, self._owner_of(chosen)))
                return self._roster.take(chosen) or self._doorway.take(chosen)
            await self._doorway.wait_accepted(min(left_s, RESUMED_CHECK_S))
            left_s -= RESUMED_CHECK_S
        return None

    def ended(self) -> None:
        """The batch at work is published, or paused."""
        self._rota = self._rota.ended()

    async def _keep(self, changed: rota.Rota) -> None:
        self._rota = changed
        try:
            await to_its_end(self._spool.keep_turns, changed.as_bytes())
        except NoSpaceError:
            return
