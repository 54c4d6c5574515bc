"""Fit: which context window the requests of one load need.

SUMMARY
    The KV cache of every slot is paid for in full when the model is loaded, so the window is no larger than
    the longest request of the groups that run together, with its answer bound, rounded up to the 256 cells
    that llama.cpp allocates in. Before the first answer only an estimate is known; an answer that says
    otherwise refits (`refit`), and never fails a request that would fit.

    A bound says how long an answer may be at most. Where prompt and bound together are larger than any
    window, the request needs the largest one, and what that leaves is its bound.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from collections.abc import Iterable

#: llama.cpp rounds the cells of a slot up to this many tokens, so the rest would be paid for and unused.
WINDOW_STEP_TOKENS = 256

#: Below this a window saves nothing worth a reload; Ollama raises smaller ones for vision models itself.
WINDOW_TOKENS_MIN = 1024

#: No setting allows a larger one.
WINDOW_TOKENS_MAX = 1 << 24

#: The room for an answer, in tokens, for which a window is worth loading where memory holds no larger one.
ROOM_TOKENS_MIN = 256


def round_up(tokens: int) -> int:
    """The next multiple of the window step."""
    return -(-tokens // WINDOW_STEP_TOKENS) * WINDOW_STEP_TOKENS


def need_of(prompt_tokens: int, bound_tokens: int, window_tokens_max: int) -> int:
    """The window that a request needs. More than is allowed where its prompt alone fills the largest."""
    if prompt_tokens < window_tokens_max:
        return min(prompt_tokens + bound_tokens, window_tokens_max)
    return prompt_tokens + bound_tokens


def least_of(prompt_tokens: int, bound_tokens: int) -> int:
    """The smallest window in which it is worth a try."""
    return prompt_tokens + min(bound_tokens, ROOM_TOKENS_MIN)


def window_for(needs_tokens: Iterable[int], window_tokens_max: int) -> int:
    """One window for requests that need so many tokens each.

    A need above `window_tokens_max` is left out where there are others: the estimate may be wrong, so the
    request is sent all the same and the engine counts it; it must not make everybody's window as large as
    allowed.
    """
    needs = list(needs_tokens)
    fitting = [need for need in needs if need <= window_tokens_max]
    longest = max(fitting) if fitting else window_tokens_max if needs else 0
    return min(max(round_up(longest), WINDOW_TOKENS_MIN), round_up(window_tokens_max))


def refit(prompt_tokens: int, bound_tokens: int, window_tokens: int, window_tokens_max: int) -> int | None:
    """A larger window for a request that asks for so much. None where it has all that is allowed, or where
    its prompt would leave no room in any."""
    if prompt_tokens + min(bound_tokens, 1) > window_tokens_max:
        return None
    need = min(prompt_tokens + bound_tokens, window_tokens_max)
    return None if need <= window_tokens else min(round_up(need), round_up(window_tokens_max))
