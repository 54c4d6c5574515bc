"""How much of a prompt was not read again, where the server does not say it (before 0.33.3).

SUMMARY
    ColdRate    learns how fast this load reads a prompt that no slot holds, then turns the duration of
                later prefills into a count of cached tokens

    Only the first wave after a load is known to be cold: what was sent before any long prompt had come back.
    Requests that run side by side stretch each other's durations, so the rate is multiplied by their number.
    Both errors make the rate, and so the evaluated part, too large: the estimate never claims too much.

DIAGNOSTICS
    None.
"""

import math
from dataclasses import replace

from batchd.core.model import Source, Usage

#: Shorter prompts measure the fixed cost of a request rather than the reading of a prompt.
COLD_TOKENS_MIN = 256


class ColdRate:
    """One for each load. `start` and `finish` bracket every answer."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._has_long_answer = False
        self._rate: float | None = None  # tokens per second

    def start(self) -> tuple[bool, int]:
        """To be handed to `finish`: whether this request is of the first wave, and how many run with it."""
        self._in_flight += 1
        return not self._has_long_answer, self._in_flight

    def finish(self, started: tuple[bool, int], usage: Usage | None) -> Usage | None:
        """The usage with an estimate, where one can be made. None (a fault) only counts down."""
        beside = max(started[1], self._in_flight)
        self._in_flight -= 1
        if usage is None or not usage.prefill_s or usage.cached_source is not Source.UNKNOWN:
            return usage
        if usage.prompt_tokens >= COLD_TOKENS_MIN:
            if started[0]:
                self._rate = max(self._rate or 0.0, usage.prompt_tokens / usage.prefill_s * beside)
            self._has_long_answer = True
        if self._rate is None:
            return usage
        evaluated = max(1, math.ceil(usage.prefill_s * self._rate))
        cached = max(0, usage.prompt_tokens - evaluated)
        return replace(usage, cached_tokens=cached, cached_source=Source.ESTIMATE)
