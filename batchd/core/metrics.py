"""Metrics: what a batch cost and saved, as `metrics.json`.

SUMMARY
    `evaluated` is what the model server read; `naive` is what it would have read had every request been read
    from its first token; `ideal` is every group's shared beginning once, and the rest of each request
    (`core/ideal`).

        evaluated = prompt - cached + canaries + answers that were not taken        naive = prompt

    Every number has its source: `engine` (reported for each answer), `estimate`, or `unknown`. Where the
    engine does not say what was cached, nothing is claimed as saved.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from batchd.core.ideal import ideal_tokens
from batchd.core.model import Source
from batchd.core.record import Event, Group, Progress
from batchd.core.runaway import Extra
from batchd.core.summary import Acceptance

#: Of the layout of `metrics.json`. A reader refuses a higher one.
METRICS_VERSION = 1

#: Groups listed one by one, largest first; the rest is in the sums.
GROUPS_LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Run:
    """What the counters do not hold: moments (seconds since the epoch), the canaries, and of each group that
    was measured, the tokens of its shared beginning; what answers cost that were not taken; the pilot."""

    started_at: float
    finished_at: float
    canary_tokens: int
    shared_tokens: Mapping[int, int]
    extra: Extra = field(default_factory=Extra)
    pilot: object = None


def saved_share(progress: Progress) -> float | None:
    """The share of prompt tokens that was not read again; None where nobody knows."""
    spent = progress.spent
    if not spent.prompt_tokens or spent.unknown_answers == progress.completed:
        return None
    return spent.cached_tokens / spent.prompt_tokens


def build_metrics(
    batch_id: str,
    acceptance: Acceptance,
    progress: Progress,
    groups: Sequence[Group],
    run: Run,
    provenance: Mapping[str, object],
    settings: Mapping[str, object],
    events: Sequence[Event],
) -> dict[str, object]:
    """The whole of `metrics.json`."""
    return {
        "version": METRICS_VERSION,
        "batch_id": batch_id,
        "provenance": {
            **provenance,
            "input": {"name": acceptance.name, "sha256": acceptance.sha256, "bytes": acceptance.size_bytes},
        },
        "settings": {**settings, "strategy": "prefix", "strict": acceptance.is_strict},
        "notes": [*acceptance.notes, *_notes(acceptance, progress), *run.extra.notes()],
        "tokens": _tokens(acceptance, progress, groups, run),
        "groups": _groups(groups, run.shared_tokens),
        "lanes": {"slots": _slots(provenance)},
        "time": _time(progress, run),
        "answers": {
            "completed": progress.completed,
            "failed": progress.failed,
            "empty": progress.spent.empty_answers,
            "cut_at_bound": progress.spent.cut_answers,
            "asked_again": asdict(run.extra),
        },
        "pilot": run.pilot,
        "memory": provenance.get("memory", {}),
        "faults": {**progress.faults, "tokens_of_killed_attempts": None},
        "decisions": [
            {
                "at": event.at,
                "name": event.name,
                "old": event.old,
                "new": event.new,
                "cause": event.cause,
                "evidence": event.evidence,
            }
            for event in events
        ],
    }


def _notes(acceptance: Acceptance, progress: Progress) -> list[str]:
    notes = []
    if acceptance.total > 50_000:
        notes.append(
            f"The file has {acceptance.total} lines; OpenAI's Batch API would refuse more than 50,000."
        )
    if progress.spent.empty_answers:
        notes.append(f"{progress.spent.empty_answers} answers are empty.")
    if progress.spent.cut_answers:
        notes.append(f"{progress.spent.cut_answers} answers were cut at their bound: finish_reason 'length'.")
    return notes


def token_scale(acceptance: Acceptance, progress: Progress) -> float:
    """What the engine counted for each token that intake estimated, over the lines that were answered."""
    answerable = acceptance.total - acceptance.faulty
    if not acceptance.prompt_tokens or not answerable or not progress.completed:
        return 0.0
    estimated = acceptance.prompt_tokens * progress.completed / answerable
    return progress.spent.prompt_tokens / estimated


def _tokens(
    acceptance: Acceptance, progress: Progress, groups: Sequence[Group], run: Run
) -> dict[str, object]:
    spent = progress.spent
    source = _cached_source(progress)
    scale = token_scale(acceptance, progress)
    ideal = ideal_tokens(spent.prompt_tokens, progress.completed, groups, scale, run.shared_tokens)
    return {
        "prompt": _number(spent.prompt_tokens, Source.ENGINE),
        "completion": _number(spent.completion_tokens, Source.ENGINE),
        "cached": _number(None if source is Source.UNKNOWN else spent.cached_tokens, source),
        "evaluated": _number(
            spent.prompt_tokens - spent.cached_tokens + run.canary_tokens + run.extra.evaluated_tokens, source
        ),
        "canary": _number(run.canary_tokens, Source.ENGINE),
        "naive": _number(spent.prompt_tokens, Source.ENGINE),
        "ideal": _number(ideal, Source.ESTIMATE),
    }


def _cached_source(progress: Progress) -> Source:
    if progress.spent.unknown_answers:
        return Source.UNKNOWN if progress.spent.unknown_answers == progress.completed else Source.ESTIMATE
    return Source.ESTIMATE if progress.spent.estimated_answers else Source.ENGINE


def _number(value: int | None, source: Source) -> dict[str, object]:
    return {"value": value, "source": source.value}


def _groups(groups: Sequence[Group], shared_tokens: Mapping[int, int]) -> dict[str, object]:
    largest = sorted(enumerate(groups), key=lambda item: -item[1].count)[:GROUPS_LISTED_MAX]
    return {
        "count": len(groups),
        "largest": [
            {
                "model": group.model,
                "requests": group.count,
                "shared_tokens": shared_tokens.get(number),
                "shared_tokens_estimated": group.prefix_tokens,
                "window_tokens_estimated": group.window_tokens,
            }
            for number, group in largest
        ],
    }


def _slots(provenance: Mapping[str, object]) -> object:
    models = provenance.get("models")
    return [model["slots"] for model in models] if isinstance(models, list) else []


def _time(progress: Progress, run: Run) -> dict[str, object]:
    wall_s = run.finished_at - run.started_at
    return {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "wall_s": round(wall_s, 3),
        "worked_s": round(progress.worked_s, 3),
        "prefill_s": round(progress.spent.prefill_s, 3),
        "decode_s": round(progress.spent.decode_s, 3),
    }
