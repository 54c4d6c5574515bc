"""Fit: which context window the requests of one load need.

SUMMARY
    The KV cache of every slot is paid for in full when the model is loaded, so the window is no larger than
    the longest request of the groups that run together, with its answer bound, rounded up to the 256 cells
    that llama.cpp allocates in. Before the first answer only an estimate is known; an answer that says
    otherwise refits (`refit`), and never fails a request that would fit.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from collections.abc import Iterable

#: llama.cpp rounds the cells of a slot up to this many tokens, so the rest would be paid for and unused.
WINDOW_STEP_TOKENS = 256

#: Below this a window saves nothing worth a reload; Ollama raises smaller ones for vision models itself.
WINDOW_TOKENS_MIN = 1024


def round_up(tokens: int) -> int:
    """The next multiple of the window step."""
    return -(-tokens // WINDOW_STEP_TOKENS) * WINDOW_STEP_TOKENS


def window_for(needs_tokens: Iterable[int], window_tokens_max: int) -> int:
    """One window for requests that need so many tokens each (prompt and bound).

    A need above `window_tokens_max` is left out: the estimate may be wrong, so the request is sent all the
    same and the engine counts it; it must not make everybody's window as large as allowed.
    """
    fitting = [need for need in needs_tokens if need <= window_tokens_max]
    return min(max(round_up(max(fitting, default=0)), WINDOW_TOKENS_MIN), round_up(window_tokens_max))


def refit(need_tokens: int, window_tokens: int, window_tokens_max: int) -> int | None:
    """A larger window for a request that needs so much, or None when no allowed window holds it."""
    if need_tokens > window_tokens_max or need_tokens <= window_tokens:
        return None
    return min(round_up(need_tokens), round_up(window_tokens_max))
