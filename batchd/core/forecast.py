"""Forecast: how long a batch will take, before anything of it has run, at rates that were measured earlier.

SUMMARY
    Rates            of one model, with where they come from
    rates_of_result  from the `metrics.json` of an earlier batch
    rates_of_profile from a calibration
    forecast         seconds for answers of 20, 50 and 100 tokens, each with a range

    The slots' busy time: what must be read at the rate of reading, and the answers at that of writing, over
    the number of slots. Tokens of prompts are estimates on the safe side, so the lower end takes fewer.

DIAGNOSTICS
    None: values in, values out. A result that does not tell its rates gives none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from batchd.core.calibration import Profile
from batchd.core.pilot import ANSWER_TOKENS
from batchd.core.status import duration

#: Rates of another day: other work on the machine, heat, other lengths. On each side of the range.
DOUBT_SHARE = 0.25

#: Real tokens for each estimated one in plain English: 3 bytes are taken for one, and 4.15 are one.
FEWEST_TOKENS = 0.7


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second in one slot while all of them work. `source`: a phrase for people."""

    model: str
    read_per_s: float
    write_per_s: float
    slots: int
    source: str


@dataclass(frozen=True, slots=True)
class Work:
    """What one model has to do: requests, and tokens that must be read, estimated."""

    rates: Rates
    requests: int
    read_tokens: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """For answers of so many tokens: seconds, most likely and at the ends of the range."""

    answer_tokens: int
    expected_s: float
    low_s: float
    high_s: float

    def words(self) -> str:
        """`50 tokens: 3 h (2 h to 4 h)`."""
        shown = f"{duration(self.expected_s)} ({duration(self.low_s)} to {duration(self.high_s)})"
        return f"{self.answer_tokens} tokens: {shown}"


def forecast(works: Sequence[Work]) -> list[Forecast]:
    """One for each length of answers. Models have their turns one after the other."""

    def whole_s(answer_tokens: int, share: float) -> float:
        return sum(
            (
                work.read_tokens * share / work.rates.read_per_s
                + work.requests * answer_tokens / work.rates.write_per_s
            )
            / work.rates.slots
            for work in works
        )

    middle = (1 + FEWEST_TOKENS) / 2
    return [
        Forecast(
            tokens,
            whole_s(tokens, middle),
            whole_s(tokens, FEWEST_TOKENS) * (1 - DOUBT_SHARE),
            whole_s(tokens, 1.0) * (1 + DOUBT_SHARE),
        )
        for tokens in ANSWER_TOKENS
    ]


def rates_of_result(metrics: object) -> Iterator[Rates]:
    """One for each model, where a batch had only one; of several, nobody knows whose rates they are."""
    try:
        told: Any = metrics
        models, rates = told["provenance"]["models"], told["rates"]
        if len({str(use["name"]) for use in models}) != 1:
            return
        model, slots = models[-1]["name"], models[-1]["slots"]
        read, write = (rates[name]["value"] for name in ("prefill_tokens_per_s", "decode_tokens_per_s"))
        is_told = isinstance(model, str) and isinstance(slots, int) and slots > 0 and read and write
        if is_told and all(0 < float(rate) < inf for rate in (read, write)):
            yield Rates(model, float(read), float(write), slots, f"of the earlier batch {told['batch_id']}")
    except (KeyError, TypeError, ValueError, IndexError):
        return


def rates_of_profile(profile: Profile) -> Iterator[Rates]:
    """None from a calibration that did not measure them."""
    chosen = next((row for row in profile.rows if row.slots == profile.slots), None)
    if chosen is None or chosen.tokens_per_s <= 0 or profile.read_tokens_per_s <= 0:
        return
    write_per_s = chosen.tokens_per_s / chosen.slots
    model = profile.identity.model
    yield Rates(model, profile.read_tokens_per_s, write_per_s, chosen.slots, "of its calibration")
