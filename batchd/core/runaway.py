"""Runaways: answers that repeat themselves, or run to their bound.

SUMMARY
    An answer that ends by itself is an answer, whatever it says. One that ran to its bound is looked at:

        it repeats itself (the same tokens, or white space, over and over)
                        asked again once with another seed, where the submitter fixed neither seed nor
                        temperature 0; else, or again, it is a `runaway`, with what there was
        its bound was a learned one
                        asked again with the bound that the submitter may count on
        otherwise       it is the answer, and says that it was cut

    A learned bound is twice the longest answer that ended by itself, for requests that have the operator's
    default. It costs a request that needs more a second try, and spares the time of those that never end.
    With it goes a seed of ours, so that the second try is the same answer, and longer ones are not rarer.

DIAGNOSTICS
    None: values in, decisions out.
"""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps, loads
from batchd.core.model import Answer, Usage
from batchd.core.request import Endpoint, Request

#: The longest piece that is looked for, in characters: some sentences. What repeats is mostly a few tokens.
UNIT_CHARS_MAX = 200

#: How often it must stand at the end, and how long that is in all. A list of like rows has fewer, and a
#: short answer that says "ha ha ha" up to a small bound is left alone.
REPEATS_MIN = 8
REPEATED_CHARS_MIN = 400

#: Answers that must have ended by themselves before a bound is learned from them, and the least that is
#: learned. 256 tokens are a second or few: below that nothing is gained.
LEARN_FROM = 100
LEARNED_TOKENS_MIN = 256
LEARNED_FACTOR = 2

#: What there was before the repetition, in the error line.
SHOWN_CHARS_MAX = 4_000

_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Repetition:
    """The end of a text: `unit` stands there `count` times, from `start` on."""

    unit: str
    count: int
    start: int


def find_repetition(text: str) -> Repetition | None:
    """The shortest piece that the text ends with over and over; None where it does not."""
    for length in range(1, min(UNIT_CHARS_MAX, len(text) // REPEATS_MIN) + 1):
        unit = text[-length:]
        needed = max(REPEATS_MIN, -(-REPEATED_CHARS_MIN // length))
        if needed * length > len(text) or not text.endswith(unit * 2) or not text.endswith(unit * needed):
            continue
        count = needed
        while text.startswith(unit, len(text) - (count + 1) * length) and (count + 1) * length <= len(text):
            count += 1
        return Repetition(unit, count, len(text) - count * length)
    return None


class Bounds:
    """What the answers of one batch teach about their length, by model."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[int, int]] = {}  # model -> answers, longest

    def __repr__(self) -> str:
        return f"Bounds({self._ended})"

    def ended(self, model: str, completion_tokens: int) -> None:
        """An answer of so many tokens ended by itself."""
        count, longest = self._ended.get(model, (0, 0))
        self._ended[model] = count + 1, max(longest, completion_tokens)

    def learned(self, model: str) -> int | None:
        """A bound that no answer so far came near to; None until enough is known."""
        count, longest = self._ended.get(model, (0, 0))
        return max(LEARNED_TOKENS_MIN, LEARNED_FACTOR * longest) if count >= LEARN_FROM else None


def first_try(request: Request, bounds: Bounds, default_tokens: int) -> Request:
    """The request as it is sent: with a learned bound where it has the operator's default."""
    learned = bounds.learned(request.model)
    is_ours = request.completion_tokens_max == default_tokens and request.endpoint is not Endpoint.EMBEDDINGS
    if not is_ours or learned is None or learned >= default_tokens:
        return request
    sent = replace(request, completion_tokens_max=learned)
    return sent if request.parameters.get("seed") is not None else _with_seed(sent, request, 0)


@dataclass(frozen=True, slots=True)
class Again:
    """Not the answer yet: this is to be sent. `why`: reseeded, lengthened, rejected."""

    request: Request
    why: str


RESEEDED, LENGTHENED, REJECTED = "reseeded", "lengthened", "rejected"


def judge(
    request: Request, sent: Request, heard: Answer | ModelFault, was_reseeded: bool
) -> Answer | ModelFault | Again:
    """What becomes of an answer to `sent`, which stands for `request`."""
    if isinstance(heard, ModelFault):
        if heard.category is not Category.RUNAWAY:
            return heard
        return _reseeded(request, sent, was_reseeded) or replace(heard, is_temporary=False)
    if heard.finish_reason != "length":
        return heard
    repetition = find_repetition(heard.text or heard.reasoning or "")
    if repetition is not None:
        return _reseeded(request, sent, was_reseeded) or _runaway(heard, repetition, was_reseeded)
    if sent.completion_tokens_max < request.completion_tokens_max:
        return Again(replace(sent, completion_tokens_max=request.completion_tokens_max), LENGTHENED)
    return heard


def instead(request: Request, sent: Request, rejected: int, again_max: int) -> Again | None:
    """The same with another seed, in place of an answer that is not what was asked for; so many were rejected
    before. None where that would be another request, or was done often enough."""
    if rejected >= again_max or is_fixed(request):
        return None
    return Again(_with_seed(sent, request, rejected + 2), REJECTED)  # after those of the first try and a loop


def is_fixed(request: Request) -> bool:
    """Whether another seed would change nothing, or be another request."""
    return request.parameters.get("seed") is not None or request.parameters.get("temperature") == 0


def _reseeded(request: Request, sent: Request, was_reseeded: bool) -> Again | None:
    """With another seed; not where that would be another request, or change nothing."""
    return None if was_reseeded or is_fixed(request) else Again(_with_seed(sent, request, 1), RESEEDED)


def _with_seed(sent: Request, request: Request, number: int) -> Request:
    """The same for the same request, so that a second try can be compared with the first."""
    seed = (zlib.crc32(request.custom_id.encode("utf-8", "surrogatepass")) + number) % _SEEDS
    return replace(sent, parameters={**request.parameters, "seed": seed})


def _runaway(answer: Answer, repetition: Repetition, was_reseeded: bool) -> ModelFault:
    text = answer.text or answer.reasoning or ""
    before = text[: repetition.start]
    shown = before[:SHOWN_CHARS_MAX]
    left_out = f" (and {len(before) - len(shown)} characters)" if len(shown) < len(before) else ""
    tries = "twice, with different seeds" if was_reseeded else "once"
    message = (
        f"The answer repeats itself up to its bound of {answer.usage.completion_tokens} tokens; it was asked "
        f"{tries}. What there was: {shown!r}{left_out}, then {repetition.count} times {repetition.unit!r}."
    )
    return ModelFault(Category.RUNAWAY, message, is_temporary=False)


#: The meta value of the journal that keeps `Extra`.
EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Extra:
    """What answers cost that were not taken, and how many there were; kept in the journal for the results.

    `unknown_tokens`: of `prompt_tokens`, those of answers of which nobody says what was cached.
    """

    reseeded: int = 0
    lengthened: int = 0
    runaways: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    rejected: int = 0
    unknown_tokens: int = 0

    def to_meta(self) -> str:
        """As the journal keeps it."""
        return dumps(asdict(self)).decode()

    def plus(self, why: str, usage: Usage | None) -> "Extra":
        """One more that was not taken; `usage` is unknown where the engine gave it up itself."""
        return replace(
            self,
            reseeded=self.reseeded + (why == RESEEDED),
            lengthened=self.lengthened + (why == LENGTHENED),
            rejected=self.rejected + (why == REJECTED),
        ).costing(usage)

    def costing(self, usage: Usage | None) -> "Extra":
        """What an answer cost that is in no result."""
        if usage is None:
            return self
        return replace(
            self,
            prompt_tokens=self.prompt_tokens + usage.prompt_tokens,
            cached_tokens=self.cached_tokens + ((usage.cached_tokens or 0) if usage.is_counted else 0),
            completion_tokens=self.completion_tokens + usage.completion_tokens,
            unknown_tokens=self.unknown_tokens + (0 if usage.is_counted else usage.prompt_tokens),
        )

    @property
    def evaluated_tokens(self) -> int:
        """What was read for answers that were not taken; at most, where some of it is unknown."""
        return self.prompt_tokens - self.cached_tokens

    def one_runaway(self) -> "Extra":
        """A request that became an error line."""
        return replace(self, runaways=self.runaways + 1)

    def notes(self) -> list[str]:
        """What the results say of it."""
        told = (
            (self.runaways, "answers repeated themselves without an end; they are errors 'runaway'."),
            (self.reseeded, "answers repeated themselves and were asked again, with another seed."),
            (
                self.rejected,
                "answers were not the JSON that was asked for and were asked again, with another seed.",
            ),
            (
                self.lengthened,
                "answers ran to the bound that was learned, and were asked again with all of it.",
            ),
        )
        return [f"{count} {words}" for count, words in told if count]


def extra_of(meta: Mapping[str, str]) -> Extra:
    """As it was kept; nothing before the first."""
    kept: Any = loads(meta.get(EXTRA, "{}").encode())
    return Extra(**kept)
