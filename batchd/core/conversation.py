"""Conversation: how many requests one chat holds, what of it a request gets to read, and when it is trimmed.

SUMMARY
    Under the strategy of that name, the requests of one group are turns of a chat, in input order, in pieces:
    segments. How many requests a segment holds is computed:

        (window - system prompt) / (question + answer) x margin, rounded down

    with 100,000 tokens, 2,400, 900 and 0.8: 97,600 / 900 x 0.8 = 86. Question and answer are measured on the
    answers so far; before the first, they are the estimate of the longest question and the bound of its
    answer. A segment that turns out to hold more than it should is ended there.

    Within a segment a request reads the system prompt, and what was asked and answered since the last trim. A
    trim keeps the last exchanges and lets go of those before: after so many requests, or where the prompt
    would get too long for the answer to have its room. We trim, never the model server.

    Only a chat request that asks one question is a turn of a conversation (`is_turn`).

DIAGNOSTICS
    None: values in, decisions out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchd.core.model import Usage
from batchd.core.request import Endpoint, Message, Request
from batchd.core.strategy import Habits
from batchd.core.tokens import MESSAGE_TOKENS, estimate_message, estimate_request

#: Answers that are measured by: the latest, so that longer questions are noticed soon.
SAMPLES_MAX = 16

#: The room for an answer is at most this part of the window: a small one must hold more than answers.
_ANSWER_PART = 8


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer. `at`: its place in the order of work. `tokens`: estimated."""

    at: int
    question: str
    answer: str

    @property
    def tokens(self) -> int:
        """What it adds to a prompt, estimated."""
        return estimate_message(self.question) + estimate_message(self.answer)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one answer showed: of its prompt the estimate and the count, of its question the estimate."""

    at: int
    estimated: int
    counted: int
    question: int
    answer: int


@dataclass(frozen=True, slots=True)
class Trim:
    """How many exchanges are kept, and why the others go."""

    kept: int
    cause: str


def is_turn(request: Request) -> bool:
    """Whether it is one question, with nothing before it but system messages."""
    return (
        request.endpoint is Endpoint.CHAT
        and request.messages[-1].role == "user"
        and all(message.role == "system" for message in request.messages[:-1])
    )


def with_history(request: Request, exchanges: Sequence[Exchange]) -> Request:
    """The request with what was said before its question."""
    *system, question = request.messages
    said = [
        message
        for exchange in exchanges
        for message in (Message("user", exchange.question), Message("assistant", exchange.answer))
    ]
    return replace(request, messages=(*system, *said, question))


def sample_of(at: int, sent: Request, usage: Usage) -> Sample:
    """`sent` is the request with its history."""
    question = estimate_message(sent.messages[-1].text) + MESSAGE_TOKENS  # those of the answer's own message
    return Sample(at, estimate_request(sent), usage.prompt_tokens, question, usage.completion_tokens)


def latest(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Those that are measured by: of the last places in the order of work, whenever they came."""
    return tuple(sorted(samples, key=lambda sample: sample.at)[-SAMPLES_MAX:])


def ratio(samples: Sequence[Sample]) -> float:
    """What the engine counts for an estimated token, at most; 1 before it counted any."""
    return max((sample.counted / sample.estimated for sample in samples), default=1.0)


def exchange_tokens(samples: Sequence[Sample], estimated: int) -> float:
    """Question and answer together, on average. `estimated`: before anything was measured."""
    if not samples:
        return float(estimated)
    question = sum(sample.question for sample in samples) / len(samples)
    answer = sum(sample.answer for sample in samples) / len(samples)
    return ratio(samples) * question + answer


def segment_lines(window_tokens: float, system_tokens: float, exchange_tokens: float, margin: float) -> int:
    """How many requests one segment holds; one at least."""
    return max(1, math.floor((window_tokens - system_tokens) / max(exchange_tokens, 1.0) * margin))


def prompt_tokens_max(window_tokens: int, alone_tokens: float, bound_tokens: int, habits: Habits) -> int:
    """The longest prompt in this window that leaves room for an answer. `alone_tokens`: of the request.

    A bound that the window does not hold even beside the request alone says nothing about its answer.
    """
    room = min(habits.answer_tokens, window_tokens // _ANSWER_PART)
    if alone_tokens + bound_tokens <= window_tokens:
        room = max(room, bound_tokens)
    return min(int(window_tokens * habits.trim_share), window_tokens - room)


def trim(
    exchanges: Sequence[Exchange],
    alone_tokens: float,
    since: int,
    tokens_max: int,
    scale: float,
    habits: Habits,
) -> Trim | None:
    """What to let go before a request is sent that has `alone_tokens` itself; None: nothing.

    `since`: exchanges since the last trim. `scale`: tokens for each estimated one.
    """
    costs = [exchange.tokens * scale for exchange in exchanges]
    tokens = alone_tokens + sum(costs)
    if tokens > tokens_max:
        cause = f"the prompt would have {math.ceil(tokens)} tokens, and may have {tokens_max}"
    elif since >= habits.trim_requests:
        cause = f"{since} requests since the last trim"
    else:
        return None
    kept = min(habits.kept_exchanges, len(costs))
    while kept and alone_tokens + sum(costs[-kept:]) > tokens_max:
        kept //= 2
    return Trim(kept, cause) if kept < len(costs) else None
