"""Pace: how fast the server reads and writes, and from that how long an answer may take.

SUMMARY
    An answer is not streamed, so silence is normal: whether a server hangs shows only against its own speed.
    The limit is five times what the request would take at the slowest speeds of late, and never below half a
    minute, nor above a day. Until speeds are known, the operator's own limit holds.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from collections import deque

from batchd.core.model import Usage

#: An honest answer is never five times slower than the slowest of late.
PATIENCE = 5.0

#: Shorter limits than this would be broken by a moment of a busy machine.
LIMIT_S_MIN = 30.0

#: No answer takes a day: a server that tells of such speeds is not believed.
LIMIT_S_MAX = 86_400.0

#: So many answers are remembered, and so many must be, before their slowest means anything.
REMEMBERED = 64
KNOWN_MIN = 8

#: Fewer tokens measure what a request costs besides its tokens.
TOKENS_MIN = 16


class Pace:
    """The speeds of late, in tokens per second, of one load."""

    def __init__(self) -> None:
        self._prefill: deque[float] = deque(maxlen=REMEMBERED)
        self._decode: deque[float] = deque(maxlen=REMEMBERED)

    def __repr__(self) -> str:
        return f"Pace({len(self._prefill)} prefills, {len(self._decode)} decodes)"

    def note(self, usage: Usage) -> None:
        """One answer. Where nobody says what was cached, its prefill tells no speed."""
        if (read := usage.evaluated_tokens) is not None:
            _add(self._prefill, read, usage.prefill_s)
        _add(self._decode, usage.completion_tokens, usage.decode_s)

    def limit_s(self, prompt_tokens: int, completion_tokens_max: int, unknown_s: float) -> float:
        """How long this request may stay without an answer; `unknown_s` until the speeds are known."""
        if len(self._prefill) < KNOWN_MIN or (completion_tokens_max and len(self._decode) < KNOWN_MIN):
            return unknown_s
        needed_s = prompt_tokens / min(self._prefill)
        if completion_tokens_max:
            needed_s += completion_tokens_max / min(self._decode)
        return min(LIMIT_S_MAX, max(LIMIT_S_MIN, PATIENCE * needed_s))


def _add(rates: "deque[float]", tokens: int, duration_s: float | None) -> None:
    if duration_s and tokens >= TOKENS_MIN:
        rates.append(tokens / duration_s)
