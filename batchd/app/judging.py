"""Judging: what the answers of one batch are worth, before anybody counts them.

SUMMARY
    Stands where the batch's requests go to the model. An answer that ran away (`core/runaway`), or is not the
    JSON that was asked for (`core/validity`), is asked again in the same slot, or becomes a fault; what was
    not taken is entered in the journal, for the results. While a pilot runs, each answer is a sample of it.

DIAGNOSTICS
    Warning: a runaway, without its text.
    Fatal: UnavailableError where no answer can be checked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from batchd.app.late import with_late_usage
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Loaded, Usage
from batchd.core.overflow import cut_by_window
from batchd.core.pilot import Flaw, Sample, flaw_of, flaw_of_rejected
from batchd.core.request import Endpoint, Request, schema_text
from batchd.core.rules import Rules
from batchd.core.runaway import (
    EXTRA,
    REJECTED,
    RESEEDED,
    Again,
    Bounds,
    Extra,
    first_try,
    instead,
    judge,
)
from batchd.core.validity import Answers, asks_for_json, cut, reject, unread
from batchd.daemon.ports import Clock, Journal, Schemas
from batchd.edges import log

#: An answer up to here is read in the event loop, in 20 ms at worst. A longer one may take seconds.
AT_ONCE_CHARS_MAX = 64 * 2**10

#: Sends a request in a slot, with a limit in seconds.
Send = Callable[[Request, int, float], Awaitable[Answer | ModelFault]]


class Judging:
    """The answers of one batch. `extra` is what an earlier life of the daemon counted."""

    def __init__(self, batch_id: str, journal: Journal, clock: Clock, rules: Rules, schemas: Schemas) -> None:
        self._batch_id = batch_id
        self._journal = journal
        self._clock = clock
        self._schemas = schemas
        self._default_tokens = rules.completion_tokens_default
        self._again_max = rules.answer_attempts
        self.answers = rules.answers
        self._bounds = Bounds()
        self.extra = Extra()
        self.samples: list[Sample] | None = None  # of a pilot that runs
        self.rejected_samples = 0  # of these, the ones that became faults

    def __repr__(self) -> str:
        return f"<Judging of {self._batch_id}: {self.extra}>"

    async def ask(
        self, send: Send, request: Request, slot: int, timeout_s: float, loaded: Loaded | None
    ) -> Answer | ModelFault:
        """Send this, again where that is decided: once for a loop, once for a learned bound, and as often as
        the operator lets it for an answer that is not what was asked for."""
        sent, was_reseeded = first_try(request, self._bounds, self._default_tokens), False
        rejected = 0
        while True:
            started = self._clock.monotonic()
            heard = await send(sent, slot, timeout_s)
            verdict = judge(request, sent, heard, was_reseeded)
            if isinstance(verdict, Answer) and asks_for_json(request):
                verdict = await self._held(request, sent, verdict, rejected, loaded)
            if not isinstance(verdict, Again):
                self._note(request, verdict, heard, self._clock.monotonic() - started)
                return verdict
            was_reseeded = was_reseeded or verdict.why == RESEEDED
            rejected += verdict.why == REJECTED
            usage = (await with_late_usage(heard)).usage if isinstance(heard, Answer) else None
            self._enter(self.extra.plus(verdict.why, usage))
            sent = verdict.request

    async def _held(
        self, request: Request, sent: Request, answer: Answer, rejected: int, loaded: Loaded | None
    ) -> Answer | ModelFault | Again:
        """This answer, held against what was asked for."""
        if loaded is not None and cut_by_window(answer, request, loaded) is not None:
            return answer  # none yet: it is asked again in a larger window
        is_long = len(answer.text) > AT_ONCE_CHARS_MAX
        breach = await asyncio.to_thread(unread, request, answer) if is_long else unread(request, answer)
        if breach is None and (schema := schema_text(request)) is not None:
            breach = await self._schemas.breach(schema, answer.text.encode())
        if breach is None:
            return answer
        breach = cut(answer, breach)
        if self.answers is Answers.AS_GIVEN:
            return replace(answer, breach=breach)
        again = instead(request, sent, rejected, self._again_max)
        if again is not None:
            return again
        self._enter(self.extra.costing((await with_late_usage(answer)).usage))
        return reject(answer, breach, rejected + 1)

    def _note(
        self, request: Request, verdict: Answer | ModelFault, heard: Answer | ModelFault, latency_s: float
    ) -> None:
        if isinstance(verdict, ModelFault):
            if self.samples is not None and verdict.rejected is not None and isinstance(heard, Answer):
                self.rejected_samples += 1
                self._sample(flaw_of_rejected(verdict.rejected), heard.usage, latency_s)
            if verdict.category is Category.RUNAWAY:
                self._enter(self.extra.one_runaway())
                text = f"{self._batch_id} request {request.custom_id!r} ran away; it is an error line"
                log.note("WARNING", "runaway", text, batch_id=self._batch_id, custom_id=request.custom_id)
            return
        usage = verdict.usage
        if verdict.finish_reason == "stop" and request.endpoint is not Endpoint.EMBEDDINGS:
            self._bounds.ended(request.model, usage.completion_tokens)
        if self.samples is not None:
            self._sample(flaw_of(request, verdict), usage, latency_s)

    def _sample(self, flaw: Flaw | None, usage: Usage, latency_s: float) -> None:
        assert self.samples is not None, "no pilot runs"
        self.samples.append(Sample(flaw, usage.completion_tokens, latency_s, usage.prefill_s, usage.decode_s))

    def _enter(self, extra: Extra) -> None:
        self.extra = extra
        self._journal.note(EXTRA, extra.to_meta())
