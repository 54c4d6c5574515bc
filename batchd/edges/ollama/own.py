"""What an `ollama serve` of our own must offer, and what its log adds to an answer.

SUMMARY
    OwnServer    the port; `edges/ollama_server` fits it
    with_log     the usage of an answer with the cached tokens that only the log has

DIAGNOSTICS
    None: what the log does not say stays unknown.
"""

from dataclasses import replace
from typing import Protocol

from batchd.core.fault import ModelFault
from batchd.core.model import Source, Usage


class OwnServer(Protocol):
    """An `ollama serve` that is ours."""

    async def ensure(self, slots: int | None) -> str | ModelFault:
        """Its address. Starts it where it does not run; again where it has other slots."""

    async def stop(self) -> None:
        """End it and its runners."""

    async def evaluated_tokens(self, prefill_s: float, decode_s: float | None) -> int | None:
        """What was read for the answer with these durations, by its log; None: unknown."""

    async def look(self) -> frozenset[int] | ModelFault:
        """At each new connection: whether our own process listens there (see `gate`)."""

    def slots_loaded(self) -> int | None:
        """Slots of the last load, by its log; None: unknown."""


async def with_log(own: OwnServer | None, usage: Usage) -> Usage:
    """Unchanged where the answer says it, and where nobody does."""
    if own is None or usage.cached_source is not Source.UNKNOWN or not usage.prefill_s:
        return usage
    evaluated = await own.evaluated_tokens(usage.prefill_s, usage.decode_s)
    if evaluated is None or evaluated > usage.prompt_tokens:
        return usage
    return replace(usage, cached_tokens=usage.prompt_tokens - evaluated, cached_source=Source.LOG)
