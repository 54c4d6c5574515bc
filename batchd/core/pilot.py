"""Pilot: the first few answers of a large batch, what they are worth, and how long the rest will take.

SUMMARY
    pilot_lines     which lines: spread over the groups, in pairs, so that the second of a pair shows what an
                    answer costs whose beginning was read already
    flaw_of         what is wrong with an answer: empty, cut, invalid
    Findings        the flaws and the measured costs, with the estimate that comes of them

    The estimate is the busy time of the slots: for each request its warm prefill, its answer and what lies
    between; for each group its beginning once. Medians stand for the rest of the batch, because the first
    answers of a load are slow; its upper end takes the means. It says nothing of nights in which the model
    is away.

DIAGNOSTICS
    None: values in, values out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean, median, stdev
from typing import Any

from batchd.core.fault import Rejected
from batchd.core.json import dumps, loads
from batchd.core.model import Answer
from batchd.core.record import Plan
from batchd.core.request import Endpoint, Request
from batchd.core.schema import Reason
from batchd.core.status import duration

#: Lines of a pilot where nobody says otherwise. A share of bad answers of a third is seen in 20 of them with
#: more than nine tenths certainty, and they take a minute where the batch takes hours.
LINES = 20

#: Batches of more lines begin with one: below it a person sees the end of the batch as soon.
FROM_LINES = 1_000

#: More than this share of bad answers pauses the batch.
BAD_SHARE_MAX = 0.2

#: A bound of so few tokens asks for a word or a number; an answer that reaches it is no cut text.
LABEL_TOKENS_MAX = 16

#: Answers of these lengths are estimated too: what people change when a batch would take too long.
ANSWER_TOKENS = (20, 50, 100)

#: What no measurement of a minute knows: other work on the card, heat. On each side of the range.
UNKNOWN_SHARE = 0.1

#: The meta value of the journal that keeps the findings; with it the pilot is over.
PILOT = "pilot"


class Flaw(StrEnum):
    """What is wrong with an answer."""

    EMPTY = "empty"
    CUT = "cut at their bound"
    INVALID = "not the JSON that was asked for"
    FAILED = "failed"


def pilot_lines(plan: Plan, finished: bytearray, count: int, is_in_order: bool = False) -> list[int]:
    """The line indices of the pilot, among those without an outcome; each model has at least one.

    `is_in_order`: the first ones of the order of work, because each needs those before it.
    """
    open_at = [at for at, index in enumerate(plan.order) if not finished[index]]
    if len(open_at) <= count:
        return [plan.order[at] for at in open_at]
    places = max(1, count // 2)
    chosen: set[int] = set()
    for number in () if is_in_order else range(places):
        at = (2 * number + 1) * len(open_at) // (2 * places)
        chosen.update(open_at[at : at + min(2, count)])
    for at in open_at:
        if len(chosen) >= count:
            break
        chosen.add(at)
    return [plan.order[at] for at in sorted(chosen | _of_other_models(plan, chosen, finished))]


def _of_other_models(plan: Plan, chosen: set[int], finished: bytearray) -> set[int]:
    """A line of each model that the places missed."""
    found: dict[str, int | None] = {}
    for group in plan.groups:
        run = range(group.start, group.start + group.count)
        if any(at in run for at in chosen):
            found[group.model] = None
        elif group.model not in found:
            fresh = next((at for at in run if not finished[plan.order[at]]), None)
            if fresh is not None:
                found[group.model] = fresh
    return {at for at in found.values() if at is not None}


def flaw_of(request: Request, answer: Answer) -> Flaw | None:
    """The worst thing to say of it; None where nothing is wrong that can be seen without reading it."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return None
    if not answer.text.strip():
        return Flaw.EMPTY
    if answer.finish_reason == "length" and request.completion_tokens_max > LABEL_TOKENS_MAX:
        return Flaw.CUT
    return None if answer.breach is None else Flaw.INVALID


def flaw_of_rejected(rejected: Rejected) -> Flaw:
    """The same of an answer that became an error line."""
    if not rejected.text.strip():
        return Flaw.EMPTY
    return Flaw.CUT if rejected.breach.reason is Reason.CUT else Flaw.INVALID


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the pilot. `latency_s`: from sending it to having it; durations as the engine tells."""

    flaw: Flaw | None
    completion_tokens: int
    latency_s: float
    prefill_s: float | None
    decode_s: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds for the whole batch: most likely, its range, and for answers of other lengths."""

    expected_s: float
    low_s: float
    high_s: float
    by_tokens: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a pilot found out. `requests_per_s` is that of the whole batch, without the start."""

    answers: int
    flaws: Mapping[str, int]
    completion_tokens: float
    requests_per_s: float | None
    estimate: Estimate | None

    @property
    def bad(self) -> int:
        """Answers with a flaw, and requests that failed."""
        return sum(self.flaws.values())

    @property
    def is_bad(self) -> bool:
        """Whether the batch shall wait for a person."""
        return self.bad > self.answers * BAD_SHARE_MAX

    def flaw_words(self) -> str:
        """`5 empty, 2 cut at their bound`; the most frequent first."""
        return ", ".join(f"{count} {flaw}" for flaw, count in Counter(self.flaws).most_common())

    def words(self) -> str:
        """One line for status and log."""
        parts = [f"pilot of {self.answers}: {self.bad} bad" + (f" ({self.flaw_words()})" if self.bad else "")]
        if self.requests_per_s is not None:
            parts.append(f"{self.requests_per_s:.2f} requests/s")
        if self.estimate is not None:
            told = self.estimate
            parts.append(
                f"whole batch {duration(told.expected_s)} ({duration(told.low_s)} to {duration(told.high_s)})"
            )
            if told.by_tokens:
                lengths = ", ".join(f"{tokens} tokens {duration(s)}" for tokens, s in told.by_tokens.items())
                parts.append(f"with answers of {lengths}")
        return "; ".join(parts)

    def to_meta(self) -> str:
        """As the journal keeps it, and as it stands in the results."""
        return dumps(asdict(self) | {"estimate": self._estimate()}).decode()

    def _estimate(self) -> dict[str, object] | None:
        told = self.estimate
        if told is None:
            return None
        return {
            "expected_s": told.expected_s,
            "low_s": told.low_s,
            "high_s": told.high_s,
            "by_tokens": {str(tokens): seconds for tokens, seconds in told.by_tokens.items()},
        }


def pilot_of(meta: Mapping[str, str]) -> object:
    """The findings for the results, as they were kept; None where there was no pilot."""
    return loads(meta[PILOT].encode()) if PILOT in meta else None


def findings_of(meta: Mapping[str, str]) -> Findings | None:
    """As they were kept; None before a pilot."""
    if PILOT not in meta:
        return None
    kept: Any = loads(meta[PILOT].encode())
    told = kept["estimate"]
    if told is not None:
        by_tokens = {int(tokens): seconds for tokens, seconds in told["by_tokens"].items()}
        kept["estimate"] = Estimate(told["expected_s"], told["low_s"], told["high_s"], by_tokens)
    return Findings(**kept)


def conclude(samples: Sequence[Sample], failed: int, lines: int, groups: int, slots: int) -> Findings:
    """The findings. `failed` requests of the pilot have no answer; `lines` are those of the whole batch."""
    flaws = Counter(sample.flaw.value for sample in samples if sample.flaw is not None)
    if failed:
        flaws[Flaw.FAILED.value] += failed
    answers = len(samples) + failed
    if not samples:
        return Findings(answers, dict(flaws), 0.0, None, None)
    costs = _Costs(samples)
    tokens = [sample.completion_tokens for sample in samples]
    mean = fmean(tokens)
    doubt = 2 * stdev(tokens) / len(tokens) ** 0.5 if len(tokens) > 1 else mean

    def whole_s(answer_tokens: float, is_slow: bool = False) -> float:
        return (lines * costs.of_request(answer_tokens, is_slow) + groups * costs.cold_s) / slots

    estimate = Estimate(
        whole_s(mean),
        whole_s(max(0.0, mean - doubt)) * (1 - UNKNOWN_SHARE),
        whole_s(mean + doubt, is_slow=True) * (1 + UNKNOWN_SHARE),
        {count: whole_s(count) for count in ANSWER_TOKENS} if costs.knows_decode else {},
    )
    per_s = lines / estimate.expected_s if estimate.expected_s > 0 else None
    return Findings(answers, dict(flaws), round(mean, 1), per_s and round(per_s, 4), estimate)


class _Costs:
    """Seconds of one slot, from the samples. What the engine does not tell is in `between`."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        prefills = sorted(sample.prefill_s or 0.0 for sample in samples)
        decodes = [
            (sample.decode_s, sample.completion_tokens)
            for sample in samples
            if sample.decode_s and sample.completion_tokens
        ]
        between = [
            max(0.0, sample.latency_s - (sample.prefill_s or 0.0) - (sample.decode_s or 0.0))
            for sample in samples
        ]
        # The first of each pair may have read its group's beginning; the lower half did not.
        self._warm_s = median(prefills[: -(-len(prefills) // 2)])
        self._prefill_mean_s = fmean(prefills)
        self.cold_s = max(0.0, prefills[-1] - self._warm_s)
        self.knows_decode = bool(decodes)
        self._token_s = median(seconds / count for seconds, count in decodes) if decodes else 0.0
        self._token_mean_s = (
            sum(seconds for seconds, _ in decodes) / sum(count for _, count in decodes) if decodes else 0.0
        )
        self._between_s = median(between)
        self._between_mean_s = fmean(between)

    def of_request(self, answer_tokens: float, is_slow: bool) -> float:
        if is_slow:
            slow = max(self._token_s, self._token_mean_s)
            rest = max(self._warm_s, self._prefill_mean_s) + max(self._between_s, self._between_mean_s)
            return rest + answer_tokens * slow
        return self._warm_s + self._between_s + answer_tokens * self._token_s


def mask_of(lines: Sequence[int], line_count: int) -> bytearray:
    """One byte for each line: 0 only for those of the pilot, as `Journal.finished` says it."""
    mask = bytearray(b"\1") * line_count
    for index in lines:
        mask[index] = 0
    return mask
