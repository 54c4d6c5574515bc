"""What a log of Ollama's adds to an answer, and what an `ollama serve` of our own must offer.

SUMMARY
    ServerLog    the port of a log: our own server's, or that of the service that we are attached to
    OwnServer    the port of a server of ours; `edges/ollama_server` fits both
    with_log     an answer with the cached tokens that only the log has, or with the promise to tell them

DIAGNOSTICS
    None: what the log does not say stays unknown.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from batchd.core.fault import ModelFault
from batchd.core.model import Answer, Source, Usage


class ServerLog(Protocol):
    """A log that is read while the server writes it."""

    def follow(self) -> None:
        """Read it from now on. Before the first request, so that its line is not missed."""

    def evaluated_tokens(self, prefill_s: float, decode_s: float | None) -> "asyncio.Future[int | None]":
        """What was read for the answer with these durations; None: the log did not tell it in time."""

    async def stop(self) -> None:
        """Read no more of it."""


class OwnServer(ServerLog, Protocol):
    """An `ollama serve` that is ours, with its log. `stop` ends it and its runners."""

    async def ensure(self, slots: int | None) -> str | ModelFault:
        """Its address. Starts it where it does not run; again where it has other slots."""

    async def look(self) -> frozenset[int] | ModelFault:
        """At each new connection: whether our own process listens there (see `gate`)."""

    def slots_loaded(self) -> int | None:
        """Slots of the last load, by its log; None: unknown."""


def with_log(log: ServerLog | None, answer: Answer) -> Answer:
    """Unchanged where the answer says it, and where nobody does."""
    usage = answer.usage
    if log is None or usage.cached_source is not Source.UNKNOWN or not usage.prefill_s:
        return answer
    asked = log.evaluated_tokens(usage.prefill_s, usage.decode_s)
    if asked.done():
        return replace(answer, usage=_counted(usage, asked))

    def late(tell: Callable[[Usage], None]) -> None:
        asked.add_done_callback(lambda done: tell(_counted(usage, done)))

    return replace(answer, late=late)


def _counted(usage: Usage, asked: "asyncio.Future[int | None]") -> Usage:
    evaluated = None if asked.cancelled() else asked.result()
    if evaluated is None or evaluated > usage.prompt_tokens:
        return usage
    return replace(usage, cached_tokens=usage.prompt_tokens - evaluated, cached_source=Source.LOG)
