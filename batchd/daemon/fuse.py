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
from dataclasses import dataclass

from batchd.core.breaker import NOT_COUNTED, TRIPS, Breaker
from batchd.core.fault import ModelFault
from batchd.core.model import Answer
from batchd.core.record import Outcome
from batchd.core.request import Request
from batchd.core.retry import Decision, Next
from batchd.daemon.ledger import Ledger
from batchd.daemon.ports import Batch, Spool


@dataclass(frozen=True, slots=True)
class _Failure:
    """What `Ledger.given_up` wants to know."""

    index: int
    line: int
    custom_id: str
    fault: ModelFault
    decision: Decision


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
        self._breaker: Breaker[_Failure] = Breaker({})
        self._is_blown = False
        self.failed = 0  # for good, in this life

    def begin(self, trips: Mapping[str, int]) -> None:
        """The work begins; so often the fuse of this batch has blown before."""
        self._breaker = Breaker(trips)

    def answered(
        self,
        index: int,
        request: Request,
        model: str,
        answer: Answer,
        now: float,
        lane: int,
        server: str = "",
    ) -> None:
        """See `Ledger`."""
        super().answered(index, request, model, answer, now, lane, server)
        self._record_all(self._breaker.succeeded())

    def given_up(self, index: int, line: int, custom_id: str, fault: ModelFault, decision: Decision) -> None:
        """See `Ledger`; recorded when it is known to be a single failure."""
        failure = _Failure(index, line, custom_id, fault, decision)
        if self._is_blown and fault.category not in NOT_COUNTED:
            self._keep(failure)
            return
        self.failed += 1
        released, trip = self._breaker.failed(fault, failure)
        self._record_all(released)
        if trip is not None:
            self.blow(trip.reason)

    def ended(self, index: int, line: int, custom_id: str, fault: ModelFault, decision: Decision) -> None:
        """Given up by a decision about the whole batch, which nothing can tell more of."""
        self.failed += 1
        super().given_up(index, line, custom_id, fault, decision)

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

    def _keep(self, failure: _Failure) -> None:
        # It did fail, and that is counted; but it begins anew, as far as its attempts go.
        super().attempted(failure.index, failure.fault, Decision(Next.AGAIN, 0, 0))

    def _record_all(self, failures: list[_Failure]) -> None:
        for failure in failures:
            super().given_up(failure.index, failure.line, failure.custom_id, failure.fault, failure.decision)
