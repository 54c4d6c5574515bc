"""Tokens: how many a prompt has, before anything has counted them.

SUMMARY
    An estimate on the safe side for ordinary text: a window made from it holds the prompt, and is at most
    half again as large as needed. The engine's own count replaces it with the first answer.

    `Ratio` corrects it by what the engine counted for the requests of this batch so far.

    Measured: a rubric of 8,681 bytes of English is 2,092 tokens of SmolLM2, that is 4.15 bytes for each.
    Code, names, numbers and most other languages have fewer; three is taken for all.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

import math
from collections import deque

from batchd.core.content import Message
from batchd.core.request import Request

#: Bytes of UTF-8 for one token, on the safe side of the measured 4.15.
_BYTES_PER_TOKEN = 3

#: What a chat template writes around one message: opening mark, role, newline, closing mark, newline.
MESSAGE_TOKENS = 8

#: What it writes once: the mark at the start and the opening of the answer, and where no system message is
#: given a sentence of its own (SmolLM2's has some 20 tokens).
_TOKENS_PER_TEMPLATE = 32

#: Counts that are remembered, and how many make a ratio.
_COUNTS_MAX = 64
_COUNTS_MIN = 8

#: What a window gets beyond the largest ratio seen: the next request may have rarer words.
MARGIN = 1.05


class Ratio:
    """How many tokens of one model an estimated token is, in one batch."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=_COUNTS_MAX)
        self._overflow = 0.0

    def __repr__(self) -> str:
        return f"Ratio({len(self._ratios)} counts, at most {max(self._ratios, default=0.0):.2f})"

    def note(self, estimated: int, counted: int) -> None:
        """The engine counted so many in an answer."""
        if estimated > 0 and counted > 0:
            self._ratios.append(counted / estimated)

    def note_overflow(self, estimated: int, counted: int) -> None:
        """A request was too long because the estimate was too low: that is not forgotten."""
        if estimated > 0:
            self._overflow = max(self._overflow, counted / estimated)

    def tokens(self, estimated: int) -> int | None:
        """What so many were at most; None before enough was counted."""
        if not self._overflow and len(self._ratios) < _COUNTS_MIN:
            return None
        most = max(self._overflow, max(self._ratios, default=0.0))
        return math.ceil(estimated * most)


def estimate(text_bytes: int, message_count: int) -> int:
    """Tokens of so many bytes in so many messages; 0 messages: a bare text, without a chat template."""
    text_tokens = -(-text_bytes // _BYTES_PER_TOKEN) + 1  # one for the mark at the start
    if message_count == 0:
        return text_tokens
    return text_tokens + message_count * MESSAGE_TOKENS + _TOKENS_PER_TEMPLATE


def estimate_message(text: str) -> int:
    """Tokens that one more message adds to a chat."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN) + MESSAGE_TOKENS


def _bytes_of(message: Message) -> int:
    text = message.text
    return len(text) if text.isascii() else len(text.encode())


def estimate_request(request: Request) -> int:
    """Tokens that the request puts into its slot at one time; texts to embed go in one by one."""
    if request.messages:
        text_bytes = sum(map(_bytes_of, request.messages))
        return estimate(text_bytes, len(request.messages))
    return estimate(max(len(text.encode()) for text in request.inputs), 0)
