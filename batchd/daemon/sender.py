"""Sender: one request in one slot, and what its answer or its fault leads to.

SUMMARY
    `attempt` sends a line and puts it where the outcome belongs: into the ledger, or back into the section.
    It knows how fast the server is, so how long an answer may take, and counts cohorts for the governor.

    `lost` is set when the model server died, hung or cannot be reached; `turn` when the governor has another
    chunk. Either way nothing more may be sent until `begin`.

DIAGNOSTICS
    Fatal: JournalError, SpoolError.
    Warning: each fault that is not the submitter's, with its category.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from loguru import logger

from batchd.core.fault import UNANSWERED, Category, LineFault, ModelFault
from batchd.core.model import Answer, Loaded, Usage
from batchd.core.overflow import Limit, cut_by_window, limits_of, refusal, room_left
from batchd.core.pace import Pace
from batchd.core.record import LANES_EACH
from batchd.core.request import Request
from batchd.core.retry import DEADLY, Decision, Next, decide, is_proof_due
from batchd.core.rules import Rules
from batchd.core.standing import canary
from batchd.core.tempo import Tempo
from batchd.core.tokens import MARGIN, Ratio, estimate_request
from batchd.daemon.conversation import Conversation
from batchd.daemon.ledger import Failure, Ledger, Success
from batchd.daemon.ports import Batch, Clock, ReadyModel
from batchd.daemon.section import Section
from batchd.daemon.stock import Item

#: A canary is a few tokens; a server that is there has them by then, whatever else it does.
PROOF_S = 60.0


class Sender:
    """Sends the requests of one batch to one server."""

    def __init__(
        self, batch: Batch, model: ReadyModel, clock: Clock, rules: Rules, lines: Conversation, ledger: Ledger
    ) -> None:
        self._batch = batch
        self._model = model
        self._clock = clock
        self._rules = rules
        self._lines = lines
        self._ledger = ledger
        self._tempo, self._pace = Tempo(), Pace()
        self._ratios: dict[str, Ratio] = {}
        self._loaded: Loaded | None = None
        self._asked_tokens = self._answers = 0
        self._is_deadly = False  # of the loss: whether a request may have caused it
        self._is_hung = False  # and whether it was a silence
        self._is_trial = self._is_alone = False
        self.lost = asyncio.Event()
        self.turn = asyncio.Event()

    def __repr__(self) -> str:
        return f"Sender({self._loaded}, {'lost' if self.lost.is_set() else 'ready'})"

    def forget_loss(self) -> None:
        """The model is asked for anew."""
        self.lost.clear()
        self.turn.clear()

    def begin(self, loaded: Loaded, asked_tokens: int) -> None:
        """The model is ready, with a window of so many tokens or with less. What was learned of its speed
        holds for this load."""
        self._asked_tokens = asked_tokens
        self._tempo.begin(loaded.slots, self._clock.monotonic())
        before, self._loaded = self._loaded, loaded
        # After a restart the same load is as fast: what hung is not given the operator's limit again.
        if before is None or replace(before, load_s=0.0) != replace(loaded, load_s=0.0):
            self._pace = Pace()

    @contextmanager
    def trial(self, is_alone: bool) -> Iterator[None]:
        """Only suspects are sent."""
        self._is_trial, self._is_alone = True, is_alone
        try:
            yield
        finally:
            self._is_trial = self._is_alone = False

    def idle(self) -> None:
        """A slot has nothing to do."""
        self._tempo.idle()

    async def attempt(self, section: Section, loaded: Loaded, item: Item, slot: int) -> None:
        request = await self._read(section, loaded, item)
        if request is None:
            return
        bound = min(request.completion_tokens_max, loaded.window_tokens)  # more than there is says nothing
        prefix = self._ledger.prefix_of(item.index)
        served = replace(request, model=section.load.model, completion_tokens_max=bound, prefix=prefix)
        estimated = estimate_request(request)
        is_sent = False
        try:  # until the line has its place, whoever calls us off must find it again
            if await self._is_put_off(section, loaded, item.index, request, estimated):
                return
            limit_s = self._pace.limit_s(estimated, bound, self._rules.request_timeout_s)
            is_sent = True
            answer = await self._asked(section, item.index, served, slot, limit_s)
        except asyncio.CancelledError:
            if is_sent and self.lost.is_set() and self._is_deadly:
                section.suspects.note(item.index, self._is_hung)  # it was held as well, and never let go
            else:
                section.requeue(item.index, self._clock.monotonic())
            raise
        if isinstance(answer, Answer):
            cut = cut_by_window(answer, request, loaded)
            if cut is None:
                self._lines.answered(item.index, request, answer)
                section.finished[item.index] = 1
                now, model = self._clock.now(), self._model
                lane = model.number * LANES_EACH + slot
                left = room_left(request, answer, loaded, self._limits(loaded))
                success = Success(item.index, request, served.model, answer, now, lane, model.name, left)
                self._ledger.answered(success, partial(self._learn, item, self._pace))
                # The estimate of several texts is of the longest, the count of all.
                if len(request.inputs) <= 1:
                    self._ratio(served.model).note(estimated, answer.usage.prompt_tokens)
                self._count(answer)
                return
            answer = cut
        if answer.category is Category.CONTEXT_LENGTH and answer.prompt_tokens is not None:
            self._ratio(served.model).note_overflow(estimated, answer.prompt_tokens)
        if self._lines.gave_way(item.index, answer, loaded):
            section.requeue(item.index, self._clock.monotonic())
            return
        self._failed(section, loaded, item, request, answer)

    async def _read(self, section: Section, loaded: Loaded, item: Item) -> Request | None:
        """What is to be sent; None where the server was lost while a long line was read, or it is refused."""
        try:
            request = await self._lines.request_of(item, loaded)
        except asyncio.CancelledError:
            section.requeue(item.index, self._clock.monotonic())
            raise
        if isinstance(request, LineFault):
            section.finished[item.index] = 1
            self._ledger.refused(item.index, request)
        elif self.lost.is_set():
            section.requeue(item.index, self._clock.monotonic())
        else:
            return request
        return None

    def _ratio(self, model: str) -> Ratio:
        return self._ratios.setdefault(model, Ratio())

    async def _is_put_off(
        self, section: Section, loaded: Loaded, index: int, request: Request, estimated: int
    ) -> bool:
        """A request that will not fit is not sent to be refused: it waits for a larger window."""
        tokens, bound = self._ratio(section.load.model).tokens(estimated), request.completion_tokens_max
        if tokens is None or tokens + bound <= loaded.window_tokens or len(request.inputs) > 1:
            return False
        exact = await self._model.count_tokens(replace(request, model=section.load.model))
        prompt = math.ceil(tokens * MARGIN) if exact is None else exact
        return prompt + bound > loaded.window_tokens and section.put_off(
            index, prompt, bound, loaded, self._asked_tokens, self._rules.window_tokens_max
        )

    def _limits(self, loaded: Loaded) -> list[Limit]:
        return limits_of(loaded, self._asked_tokens, self._rules.window_tokens_max)

    def _learn(self, item: Item, pace: Pace, usage: Usage) -> None:
        """What an answer cost is known: the speed of its load, and what its slot holds."""
        pace.note(usage)
        item.learn(usage, self._clock.now())

    def _count(self, answer: Answer) -> None:
        """An answer is here, and may end a cohort."""
        self._answers += 1
        cohort = self._tempo.answered(answer.usage, self._clock.monotonic())
        if (
            cohort is not None
            and not self._is_trial
            and not self.lost.is_set()
            and self._model.finished(cohort)
        ):
            self.turn.set()

    def _failed(
        self, section: Section, loaded: Loaded, item: Item, request: Request, fault: ModelFault
    ) -> None:
        windows = self._asked_tokens, self._rules.window_tokens_max
        trial = section.trial(item.index, request, fault, loaded, *windows, self._is_alone)
        decision = decide(fault, trial, self._rules.attempts_max, self._clock.random())
        if decision.next is Next.GIVE_UP and fault.prompt_tokens is not None:
            asked = fault.prompt_tokens, request.completion_tokens_max
            if section.leave_to_others(item.index, *asked, loaded, self._clock.monotonic()):
                return
        if fault.is_server_lost:
            self._lose(section, fault)
        section.place(item.index, decision, self._clock.monotonic())
        if decision.next is Next.GIVE_UP:
            if fault.is_server_lost:
                section.suspects.convict(request.custom_id)
            fault = refusal(fault, request, loaded, self._limits(loaded))
            section.finished[item.index] = 1
            self._ledger.given_up(Failure(item.index, item.row.number, request.custom_id, fault, decision))
        else:
            self._ledger.attempted(item.index, fault, decision)
        # What was rejected is the text of an answer, and no text for a log; the results count these.
        is_told = decision.next is not Next.GIVE_UP or fault.category in UNANSWERED
        if is_told and fault.rejected is None:
            self._say(item.index, request.custom_id, fault, decision)

    async def _asked(
        self, section: Section, index: int, request: Request, slot: int, limit_s: float
    ) -> Answer | ModelFault:
        """What came of it. A server that answers others is not hung, away or locked: what only one request
        meets is its own doing. If nobody was answered while it was held, a canary tells."""
        answers = self._answers
        answer = await self._model.answer(request, slot, limit_s)
        if isinstance(answer, Answer):
            return answer
        is_quiet = self._tempo.is_quiet(self._clock.monotonic(), limit_s)
        if answer.category is Category.TIMEOUT and not is_quiet:
            return replace(answer, is_server_lost=False)
        if not is_proof_due(answer, section.spared.get(index, 0)):
            return answer
        if self._answers == answers:
            proof = await self._model.answer(canary(section.load), slot, min(limit_s, PROOF_S))
            if isinstance(proof, ModelFault):
                return answer
        return replace(answer, is_own=True, is_server_lost=False, needs_operator=False)

    def _lose(self, section: Section, fault: ModelFault) -> None:
        is_deadly = fault.category in DEADLY and not fault.needs_operator
        if not self.lost.is_set():
            self._is_deadly, self._is_hung = is_deadly, fault.category is Category.TIMEOUT
            if is_deadly and not self._is_trial:
                section.suspects.died(self._model.number)
        self._model.suspect(fault, self._is_trial)
        self.lost.set()

    def _say(self, index: int, custom_id: str, fault: ModelFault, decision: Decision) -> None:
        logger.bind(event="attempt_failed", batch_id=self._batch.id, custom_id=custom_id).warning(
            "{} request {}: {} ({}), attempt {}, next: {}",
            self._batch.id,
            index,
            fault.category.value,
            fault.told,
            decision.attempts,
            decision.next.name.lower(),
        )
