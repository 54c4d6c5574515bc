"""Judging: what the answers of one batch are worth, before anybody counts them.

SUMMARY
    Stands where the batch's requests go to the model. An answer that ran away is asked again, or becomes a
    fault (`core/runaway`); what was not taken is entered in the journal, for the results. While a pilot runs,
    each answer is a sample of it.

DIAGNOSTICS
    Warning: a runaway, without its text.
"""

from collections.abc import Awaitable, Callable

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer
from batchd.core.pilot import Sample, flaw_of
from batchd.core.request import Endpoint, Request
from batchd.core.runaway import EXTRA, RESEEDED, Again, Bounds, Extra, first_try, judge
from batchd.daemon.ports import Clock, Journal
from batchd.edges import log

#: Sends a request in a slot, with a limit in seconds.
Send = Callable[[Request, int, float], Awaitable[Answer | ModelFault]]


class Judging:
    """The answers of one batch. `extra` is what an earlier life of the daemon counted."""

    def __init__(self, batch_id: str, journal: Journal, clock: Clock, default_tokens: int) -> None:
        self._batch_id = batch_id
        self._journal = journal
        self._clock = clock
        self._default_tokens = default_tokens
        self._bounds = Bounds()
        self.extra = Extra()
        self.samples: list[Sample] | None = None  # of a pilot that runs

    def __repr__(self) -> str:
        return f"<Judging of {self._batch_id}: {self.extra}>"

    async def ask(self, send: Send, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """Send this, again where that is decided; at most four times."""
        sent, was_reseeded = first_try(request, self._bounds, self._default_tokens), False
        while True:
            started = self._clock.monotonic()
            heard = await send(sent, slot, timeout_s)
            verdict = judge(request, sent, heard, was_reseeded)
            if not isinstance(verdict, Again):
                self._note(request, verdict, self._clock.monotonic() - started)
                return verdict
            was_reseeded = was_reseeded or verdict.why == RESEEDED
            self._enter(self.extra.plus(verdict.why, heard.usage if isinstance(heard, Answer) else None))
            sent = verdict.request

    def _note(self, request: Request, verdict: Answer | ModelFault, latency_s: float) -> None:
        if isinstance(verdict, ModelFault):
            if verdict.category is Category.RUNAWAY:
                self._enter(self.extra.one_runaway())
                text = f"{self._batch_id} request {request.custom_id!r} ran away; it is an error line"
                log.note("WARNING", "runaway", text, batch_id=self._batch_id, custom_id=request.custom_id)
            return
        usage = verdict.usage
        if verdict.finish_reason == "stop" and request.endpoint is not Endpoint.EMBEDDINGS:
            self._bounds.ended(request.model, usage.completion_tokens)
        if self.samples is not None:
            flaw = flaw_of(request, verdict)
            self.samples.append(
                Sample(flaw, usage.completion_tokens, latency_s, usage.prefill_s, usage.decode_s)
            )

    def _enter(self, extra: Extra) -> None:
        self.extra = extra
        self._journal.note(EXTRA, extra.to_meta())
