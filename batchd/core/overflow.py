"""Overflow: how much room a window left for an answer, and what a request is told that none can hold.

SUMMARY
    limits_of      the windows that may be had at most, and what bounds them
    room_left      what an answer had in place of its bound, where no allowed window holds both
    cut_by_window  whether an answer ended because the window was full
    refusal        the fault that such a request ends with: all numbers, and the limit that really binds

    The limit that is named is the one that remains when those are lifted that can be: memory first, then the
    setting, the model's own maximum last.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchd.core.fault import Category, ModelFault
from batchd.core.fit import refit
from batchd.core.model import Answer, Loaded
from batchd.core.request import Request

#: An engine may stop some tokens before its window is full (for a draft, or where the marks of its template
#: are not counted): nearer than this, the window cut the answer.
WINDOW_SLACK_TOKENS = 32

#: The code of such an error line, and OpenAI's.
CODE = "context_length_exceeded"

#: What the results say of answers to requests with such a bound.
LOWERED = "answers had a bound above the largest window, and ended within the tokens that it left for them"

MODEL = "the model's own maximum"
SERVER = "the window that the model server was started with"
GIVEN = "what the model server gives, whatever is asked"
MEMORY = "the memory: a larger window did not fit"
SETTING = "window_tokens_max, a setting of batchd"


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest window, in tokens, and why it is no larger."""

    tokens: int
    words: str


def limits_of(loaded: Loaded, asked_tokens: int, window_tokens_max: int) -> list[Limit]:
    """Of a server with this load, which was asked for a window of `asked_tokens`. The hardest comes first."""
    limits = []
    if loaded.window_tokens_max is not None:
        limits.append(Limit(loaded.window_tokens_max, SERVER if loaded.is_window_fixed else MODEL))
    limits.append(Limit(window_tokens_max, SETTING))
    if loaded.memory_window_tokens_max is not None:
        limits.append(Limit(loaded.memory_window_tokens_max, MEMORY))
    # What is not given is not asked twice.
    if loaded.window_tokens < min(asked_tokens, *(limit.tokens for limit in limits)):
        limits.append(Limit(loaded.window_tokens, GIVEN))
    return limits


def room_left(request: Request, answer: Answer, loaded: Loaded, limits: Sequence[Limit]) -> int | None:
    """The tokens that the window left for this answer, where its bound is larger than any window leaves."""
    prompt, bound = answer.usage.prompt_tokens, request.completion_tokens_max
    left, most = loaded.window_tokens - prompt, min(limit.tokens for limit in limits)
    if bound <= left or refit(prompt, bound, loaded.window_tokens, most) is not None:
        return None
    return max(left, 0)


def cut_by_window(answer: Answer, request: Request, loaded: Loaded) -> ModelFault | None:
    """An answer that ended because the window was full, not because its bound was reached."""
    used = answer.usage.prompt_tokens + answer.usage.completion_tokens
    if (
        answer.finish_reason != "length"
        or answer.usage.completion_tokens >= request.completion_tokens_max
        or used < loaded.window_tokens - WINDOW_SLACK_TOKENS
    ):
        return None
    return ModelFault(
        Category.CONTEXT_LENGTH,
        f"The answer reached the end of the window of {loaded.window_tokens} tokens before its bound.",
        is_temporary=False,
        code=CODE,
        prompt_tokens=answer.usage.prompt_tokens,
        window_tokens=loaded.window_tokens,
    )


def refusal(fault: ModelFault, request: Request, loaded: Loaded, limits: Sequence[Limit]) -> ModelFault:
    """What the request ends with: of the category `oom` where more memory would help."""
    if fault.category is not Category.CONTEXT_LENGTH:
        return fault
    prompt, bound = fault.prompt_tokens, request.completion_tokens_max
    limit = _binding(limits, (prompt or 0) + min(bound, 1))
    window = max(limit.tokens, loaded.window_tokens)
    if prompt is None:
        message = f"{fault.message} The largest window has {window} tokens."
    else:
        message = f"This model's maximum context length is {window} tokens. {_asked(prompt, bound, window)}"
    return replace(
        fault,
        category=Category.OOM if limit.words == MEMORY else fault.category,
        message=f"{message} It is bounded by {limit.words}.",
        code=CODE,
        window_tokens=window,
    )


def _binding(limits: Sequence[Limit], tokens: int) -> Limit:
    """The hardest of those that so many tokens go beyond; else the answer has met the smallest."""
    smallest = min(limits, key=lambda limit: limit.tokens)
    return next((limit for limit in limits if tokens > limit.tokens), smallest)


def _asked(prompt: int, bound: int, window: int) -> str:
    if not bound:
        return f"However, you requested {prompt} tokens."
    left = window - prompt
    end = (
        f"the answer went on beyond the {left} that are left for it"
        if left > 0
        else "nothing is left for an answer"
    )
    return (
        f"However, you requested {prompt + bound} tokens ({prompt} in the messages, {bound} in the "
        f"completion: max_tokens), and {end}."
    )
