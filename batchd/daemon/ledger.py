"""Ledger: hands finished attempts to the journal, and tells what has become durable.

SUMMARY
    The dispatcher does not wait for a commit: it hands the outcome over and goes on with the next request.
    Only when the journal has acknowledged an outcome is it counted, and appended to `partial/`. At most
    `UNACKNOWLEDGED_MAX` outcomes wait; beyond that the lanes do, in `room`, before they send another request.
    Handing over never waits: an answer that is here cannot be lost to a cancellation.

DIAGNOSTICS
    Fatal: JournalError of the writer, raised at the next `room` or `drain`.
    Bug: what the callbacks for durable outcomes raise, at the same place.
    Warning: as in `partial`.
"""

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

from batchd import failpoints
from batchd.core.fault import Category, LineFault, ModelFault, Rejected
from batchd.core.ideal import TELLING_TOKENS, is_cold
from batchd.core.model import Answer, Usage
from batchd.core.record import NO_SPENT, Outcome, Place, Plan, Spent, spent_on_rejected
from batchd.core.rejection import parted
from batchd.core.request import Prefix, Request
from batchd.core.result import line_fault_line, model_fault_line, request_id, result_line
from batchd.core.retry import Decision
from batchd.core.strategy import Strategy
from batchd.daemon.partial import Partial
from batchd.daemon.ports import Batch, Spool
from batchd.errors import JournalError

#: Outcomes that may wait for a commit. A commit takes 0.3 to 10 ms and up to 256 outcomes, so this is some
#: tens of milliseconds of a fast server; what is waiting is lost in a crash and computed again.
UNACKNOWLEDGED_MAX = 256

#: Durable answers that may wait to be written to `partial/` with one call, while others are not durable yet.
PARTIAL_LINES_MAX = 64

#: The longest that a commit may take before we say that the disk is gone. The journal retries for less.
DURABLE_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Success:
    """An answer, and whose it is: `model` gave it in this lane. `server`: where there are several.
    `lowered_bound`: the tokens that the largest window left for it, where its bound was more."""

    index: int
    request: Request
    model: str
    answer: Answer
    at: float
    lane: int
    server: str = ""
    lowered_bound: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that ends without an answer. `line` is the number of its line, from 1."""

    index: int
    line: int
    custom_id: str
    fault: ModelFault
    decision: Decision


class Ledger:
    """The outcomes of one batch, from attempt to acknowledgement."""

    def __init__(
        self,
        batch: Batch,
        spool: Spool,
        on_durable: Callable[[Outcome], None],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._batch = batch
        self._on_durable = on_durable
        self._waiting: set[asyncio.Future[None]] = set()
        self._plan = Plan(0, (), array("I"))
        self._group_of = self._plan.group_of()
        self.strategy = Strategy.PREFIX
        self._fault: BaseException | None = None
        self._partial = Partial(spool, batch.id, on_full)

    def __repr__(self) -> str:
        return f"Ledger({len(self._waiting)} unacknowledged)"

    async def room(self) -> None:
        """Wait until another request may be sent. One for each slot may be on its way beyond the bound."""
        self._raise_fault()
        while len(self._waiting) >= UNACKNOWLEDGED_MAX:
            await self._wait(asyncio.FIRST_COMPLETED)

    def follow(self, plan: Plan, strategy: Strategy = Strategy.PREFIX) -> None:
        """What answers are counted by."""
        self._plan, self._group_of, self.strategy = plan, plan.group_of(), strategy

    def prefix_of(self, index: int) -> Prefix | None:
        """The beginning that this line shares with others, where it is long enough to speak of."""
        if self.strategy is not Strategy.PREFIX:
            return None
        number = self._group_of[index]
        group = self._plan.groups[number]
        is_shared = group.count > 1 and group.prefix_tokens >= TELLING_TOKENS
        return Prefix(f"{self._batch.id}.{number}", group.prefix_tokens) if is_shared else None

    def answered(self, success: Success, told: Callable[[Usage], None] = lambda usage: None) -> None:
        """The request has its answer. `told` gets its usage, as soon as all of that is known: a log may come
        after the answer, and the next request need not wait for it."""
        late = success.answer.late
        if late is None:
            self._enter(success)
            told(success.answer.usage)
            return
        coming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(coming)

        def settle(usage: Usage) -> None:
            try:
                self._enter(replace(success, answer=replace(success.answer, usage=usage, late=None)))
                told(usage)
            except BaseException as bug:  # noqa: BLE001 - nobody awaits a callback: raised by who comes next
                self._fault = bug
            self._waiting.discard(coming)
            coming.set_result(None)

        late(settle)

    def _enter(self, success: Success) -> None:
        index, request, answer = success.index, success.request, success.answer
        name, told = request_id(self._batch.id, index), (success.server, success.lowered_bound)
        content = result_line(request, answer, name, success.at, success.model, *told)
        group = self._group_of[index]
        spent = _spent(success, self._plan.groups[group].prefix_tokens)
        self._record(Outcome(index, content, spent=spent, place=Place(group, success.lane, success.at)))

    def given_up(self, failure: Failure) -> None:
        """The request ends without an answer."""
        index, fault, decision = failure.index, failure.fault, failure.decision
        content = model_fault_line(failure.custom_id, failure.line, fault, request_id(self._batch.id, index))
        counts = decision.attempts, decision.crashes
        self._record(Outcome(index, content, True, fault.category, *counts, spent=_spent_on(fault.rejected)))

    def refused(self, index: int, line: LineFault) -> None:
        """Accepted once and refused now: a newer batchd reads more strictly. It is that line's own fault."""
        content = line_fault_line(line, request_id(self._batch.id, index))
        self._record(Outcome(index, content, True, Category.VALIDATION))

    def attempted(self, index: int, fault: ModelFault, decision: Decision) -> None:
        """An attempt failed and the request will be tried again."""
        self._record(Outcome(index, None, False, fault.category, decision.attempts, decision.crashes))

    def _record(self, outcome: Outcome) -> None:
        self._raise_fault()
        failpoints.reach("answer.arrived")
        future = self._batch.journal.record(outcome)
        self._waiting.add(future)
        future.add_done_callback(lambda done: self._acknowledged(done, outcome))

    async def drain(self) -> None:
        """Wait until everything handed over is durable."""
        while self._waiting:  # what a late answer is entered with joins them meanwhile
            await self._wait(asyncio.ALL_COMPLETED)
        self._raise_fault()
        await self._partial.settle()  # what waited for room: here it is tried for the last time

    async def leave(self) -> None:
        """Whatever ended the work: nobody closes the spool under a thread that still appends."""
        await self._partial.ended()

    async def _wait(self, until: str) -> None:
        left: set[asyncio.Future[None]] = set()
        done: set[asyncio.Future[None]] = set()
        while not done or (left and until == asyncio.ALL_COMPLETED):
            done, left = await asyncio.wait(self._waiting, timeout=DURABLE_TIMEOUT_S, return_when=until)
            is_late = not done or (left and until == asyncio.ALL_COMPLETED)
            if is_late and not self._batch.journal.waits_for_room:
                raise JournalError(
                    f"The journal's disk did not answer within {DURABLE_TIMEOUT_S:.0f} s.",
                    "Look at the disk, and start batchd again.",
                )
        self._raise_fault()

    def _acknowledged(self, future: "asyncio.Future[None]", outcome: Outcome) -> None:
        self._waiting.discard(future)
        if future.cancelled():
            self._fault = JournalError("The journal was closed while an answer waited.")
        elif fault := future.exception():
            self._fault = fault
        else:
            try:
                self._durable(outcome)
            except BaseException as bug:  # noqa: BLE001 - nobody awaits a callback: raised by who comes next
                self._fault = bug

    def _durable(self, outcome: Outcome) -> None:
        failpoints.reach("answer.durable")
        self._append(outcome)
        self._on_durable(outcome)
        for _ in range(self._plan.copies.get(outcome.index, 0) if outcome.line is not None else 0):
            copied = Spent(deduplicated_answers=int(not outcome.is_error))
            self._on_durable(replace(outcome, spent=copied))

    def _append(self, outcome: Outcome) -> None:
        if outcome.line is not None:
            self._partial.add(parted(outcome.line)[0])
        # A commit acknowledges many at once: they are written with one call, at the last of them.
        if not self._waiting or len(self._partial) >= PARTIAL_LINES_MAX:
            self._partial.show()

    def _raise_fault(self) -> None:
        fault = self._fault or self._partial.fault
        if fault is not None:
            raise fault


def _spent_on(rejected: Rejected | None) -> Spent:
    """Of an error line: its tokens are in no result."""
    return NO_SPENT if rejected is None else spent_on_rejected(rejected.breach.reason)


def _spent(success: Success, prefix_tokens: int) -> Spent:
    request, answer = success.request, success.answer
    usage = answer.usage
    told = NO_SPENT if answer.breach is None else spent_on_rejected(answer.breach.reason)
    return Spent(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=(usage.cached_tokens or 0) if usage.is_counted else 0,
        prefill_s=usage.prefill_s or 0.0,
        decode_s=usage.decode_s or 0.0,
        empty_answers=int(not answer.embeddings and not answer.text.strip()),
        cut_answers=int(answer.finish_reason == "length" and bool(request.completion_tokens_max)),
        not_json_answers=told.not_json_answers,
        broken_answers=told.broken_answers,
        unknown_answers=int(not usage.is_counted),
        cold_answers=int(usage.is_counted and is_cold(usage.cached_tokens, prefix_tokens)),
        lowered_answers=int(success.lowered_bound is not None),
        zero_answers=int(answer.has_zeros),
    )
