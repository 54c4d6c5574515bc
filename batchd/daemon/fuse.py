"""Fuse: the ledger of a batch, with the breaker before it.

SUMMARY
    Answers go to the ledger at once. A failure for good waits in the breaker until it is known to be a single
    one; then its error line is recorded. When most requests fail alike the fuse blows: nothing that waits is
    recorded as failed, its attempts are forgotten, and the batch pauses, so that whoever resumes it finds
    these requests pending. What a stopped daemon had waiting is pending too.

DIAGNOSTICS
    Fatal: JournalError, as in the ledger.
"""

from collections.abc import Callable, Mapping

from batchd.core.breaker import NOT_COUNTED, TRIPS, Breaker
from batchd.core.model import Usage
from batchd.core.record import Outcome
from batchd.core.retry import Decision, Next
from batchd.daemon.ledger import Failure, Ledger, Success
from batchd.daemon.ports import Batch, Spool


class Fuse(Ledger):
    """A ledger that asks the breaker first. `on_blown` is told the reason."""

    def __init__(
        self,
        batch: Batch,
        spool: Spool,
        on_durable: Callable[[Outcome], None],
        on_blown: Callable[[str], None],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(batch, spool, on_durable, on_full)
        self._on_blown = on_blown
        self._breaker: Breaker[Failure] = Breaker({})
        self._is_blown = False
        self.failed = 0  # for good, in this life

    def begin(self, trips: Mapping[str, int]) -> None:
        """The work begins; so often the fuse of this batch has blown before."""
        self._breaker = Breaker(trips)

    def answered(self, success: Success, told: Callable[[Usage], None] = lambda usage: None) -> None:
        """See `Ledger`."""
        super().answered(success, told)
        self._record_all(self._breaker.succeeded())

    def given_up(self, failure: Failure) -> None:
        """See `Ledger`; recorded when it is known to be a single failure."""
        if self._is_blown and failure.fault.category not in NOT_COUNTED:
            self._keep(failure)
            return
        self.failed += 1
        released, trip = self._breaker.failed(failure.fault, failure)
        self._record_all(released)
        if trip is not None:
            self.blow(trip.reason)

    def ended(self, failure: Failure) -> None:
        """Given up by a decision about the whole batch, which nothing can tell more of."""
        self.failed += 1
        super().given_up(failure)

    def blow(self, reason: str) -> None:
        """The batch pauses."""
        self._is_blown = True
        self._keep_all()
        self._batch.journal.note(TRIPS, self._breaker.to_meta())
        self._on_blown(reason)

    async def keep(self) -> None:
        """What waits stays pending, durably."""
        self._keep_all()
        await self.drain()

    def _keep_all(self) -> None:
        for failure in self._breaker.let_go():
            self._keep(failure)

    def let_go(self) -> None:
        """What waits is recorded: nothing more comes that could tell."""
        self._record_all(self._breaker.let_go())

    def _keep(self, failure: Failure) -> None:
        # It did fail, and that is counted; but it begins anew, as far as its attempts go.
        super().attempted(failure.index, failure.fault, Decision(Next.AGAIN, 0, 0))

    def _record_all(self, failures: list[Failure]) -> None:
        for failure in failures:
            super().given_up(failure)
