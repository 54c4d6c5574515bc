"""Metrics: what a batch cost and saved, as `metrics.json`.

SUMMARY
    `evaluated` is what the model server read; `naive` is what it would have read had every request been read
    from its first token; `ideal` is every group's shared beginning once, and the rest of each request
    (`core/ideal`).

        evaluated = prompt - cached + canaries + answers that were not taken        naive = prompt

    Every number has its source: `engine` (reported for each answer), `clock` (ours), `estimate` or `unknown`.
    Where the engine does not say what was cached, nothing that hangs on it is claimed (`core/cached`).

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from batchd.core.cached import cached_source, computed, saved_share
from batchd.core.flaws import counted_answers, flawed_answers
from batchd.core.ideal import ideal_tokens
from batchd.core.model import Source
from batchd.core.provenance import Account
from batchd.core.record import LANES_EACH, NO_REUSE, Event, Group, Progress, Share, Shares
from batchd.core.runaway import Extra
from batchd.core.summary import Acceptance
from batchd.core.talk import notes_of

#: Of the layout of `metrics.json`. A reader refuses a higher one.
METRICS_VERSION = 1

#: Groups listed one by one, largest first; the rest is in the sums.
GROUPS_LISTED_MAX = 1_000

#: Settled when the batch was accepted, in the place of what is set when it ends.
_SETTLED = ("deduplicate", "answers")

#: The source of what we measured ourselves.
CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Run:
    """What the counters do not hold: moments (seconds since the epoch), the account of loads and canaries, of
    each group that was measured the tokens of its shared beginning, who did what; what answers cost that were
    not taken; the pilot; the names of the servers by their numbers, where there were several; of
    conversations their counts."""

    started_at: float
    finished_at: float
    account: Account
    shared_tokens: Mapping[int, int]
    shares: Shares
    extra: Extra = field(default_factory=Extra)
    pilot: object = None
    servers: Sequence[str] = ()
    talk: Mapping[str, int] | None = None


def listed_groups(groups: Sequence[Group]) -> list[int]:
    """The numbers of the groups that are told one by one."""
    return sorted(range(len(groups)), key=lambda number: -groups[number].count)[:GROUPS_LISTED_MAX]


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
    asked = {
        name: value
        for name in _SETTLED
        for facts in (acceptance, acceptance.options)  # what the batch asks for is what was settled
        if (value := getattr(facts, name)) is not None
    }
    if run.talk is not None:
        asked["deduplicate"] = False  # whatever was asked: no two of its requests read the same
    return {
        "version": METRICS_VERSION,
        "batch_id": batch_id,
        "provenance": {
            **provenance,
            "input": {"name": acceptance.name, "sha256": acceptance.sha256, "bytes": acceptance.size_bytes},
        },
        "settings": {
            **settings,
            **asked,
            "strategy": acceptance.strategy.value,
            "strict": acceptance.is_strict,
        },
        "notes": [
            *acceptance.notes,
            *_notes(acceptance, progress, events),
            *run.extra.notes(),
            *(() if run.talk is None else notes_of(run.talk, progress.failed - acceptance.faulty)),
        ],
        "tokens": _tokens(acceptance, progress, groups, run),
        "groups": _groups(groups, run, cached_source(progress)),
        "lanes": {"slots": _slots(provenance), "lanes": _lanes(run, cached_source(progress))},
        "time": _time(progress, run),
        "rates": _rates(progress),
        "pace": {**asdict(run.shares.pace), "source": CLOCK},
        "answers": counted_answers(progress, run.extra),
        "pilot": run.pilot,
        "conversation": run.talk,
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
                **({"server": event.server} if event.server else {}),
            }
            for event in events
        ],
    }


def _notes(acceptance: Acceptance, progress: Progress, events: Sequence[Event]) -> list[str]:
    notes = []
    if acceptance.total > 50_000:
        notes.append(
            f"The file has {acceptance.total} lines; OpenAI's Batch API would refuse more than 50,000."
        )
    notes += flawed_answers(counted_answers(progress, Extra()))
    if copies := progress.spent.deduplicated_answers:
        notes.append(f"{copies} requests equal an earlier one and were not computed again.")
    lost = next((event for event in events if event.name == NO_REUSE), None)
    if lost is not None:
        notes.append(
            f"A shared beginning was read again for each request: some {lost.old} tokens were expected in "
            f"the slot, and at most {lost.new} were there. {lost.cause.capitalize()}."
        )
    return notes


def token_scale(acceptance: Acceptance, progress: Progress) -> float:
    """What the engine counted for each token that intake estimated, over the lines that were answered."""
    answerable = acceptance.total - acceptance.faulty - acceptance.copies
    if not acceptance.prompt_tokens or not answerable or not computed(progress):
        return 0.0
    estimated = acceptance.prompt_tokens * computed(progress) / answerable
    return progress.spent.prompt_tokens / estimated


def _tokens(
    acceptance: Acceptance, progress: Progress, groups: Sequence[Group], run: Run
) -> dict[str, object]:
    spent, canary_tokens = progress.spent, run.account.canary_tokens
    source = cached_source(progress, run.extra.unknown_tokens)
    scale = token_scale(acceptance, progress)
    ideal = (
        ideal_tokens(spent.prompt_tokens, computed(progress), groups, scale, run.shared_tokens)
        if run.talk is None
        else None  # what a request shares is what was said before it: no plan knows that
    )
    saved = saved_share(progress)
    evaluated = spent.prompt_tokens - spent.cached_tokens + canary_tokens + run.extra.evaluated_tokens
    return {
        "prompt": _number(spent.prompt_tokens, Source.ENGINE),
        "completion": _number(spent.completion_tokens, Source.ENGINE),
        "cached": _known(spent.cached_tokens, source),
        "evaluated": _known(evaluated, source),
        "canary": _number(canary_tokens, Source.ENGINE),
        "naive": _number(spent.prompt_tokens, Source.ENGINE),
        "ideal": _number(ideal, Source.ESTIMATE if run.talk is None else Source.UNKNOWN),
        "saved_share": _known(None if saved is None else round(saved, 4), source),
        "cold_prefills": _known(spent.cold_answers, _exact(cached_source(progress))),
    }


def _exact(source: Source) -> Source:
    """Nothing bounds how the answers without a count fall on groups, on lanes, and on cold ones."""
    return source if source is Source.ENGINE else Source.UNKNOWN


def _known(value: float | None, source: Source) -> dict[str, object]:
    return _number(None if source is Source.UNKNOWN else value, source)


def _number(value: float | None, source: str) -> dict[str, object]:
    return {"value": value, "source": str(source)}


def _groups(groups: Sequence[Group], run: Run, source: Source) -> dict[str, object]:
    return {
        "count": len(groups),
        "largest": [
            {
                "model": groups[number].model,
                "requests": groups[number].count,
                "shared_tokens": run.shared_tokens.get(number),
                "shared_tokens_estimated": groups[number].prefix_tokens,
                "window_tokens_estimated": groups[number].window_tokens,
                **_share(run.shares.groups.get(number, Share()), source),
            }
            for number in listed_groups(groups)
        ],
    }


def _lanes(run: Run, source: Source) -> list[dict[str, object]]:
    return [
        {**_lane(lane, run.servers), **_share(share, source)}
        for lane, share in sorted(run.shares.lanes.items())
    ]


def _lane(lane: int, servers: Sequence[str]) -> dict[str, object]:
    number, slot = divmod(lane, LANES_EACH)
    return {"lane": slot, "server": servers[number]} if number < len(servers) else {"lane": lane}


def _share(share: Share, source: Source) -> dict[str, object]:
    """Of a group or a lane."""
    exact = _exact(source)
    return {
        "answers": share.answers,
        "prompt_tokens": share.prompt_tokens,
        "evaluated_tokens": _known(share.prompt_tokens - share.cached_tokens, exact)["value"],
        "completion_tokens": share.completion_tokens,
        "cold_prefills": _known(share.cold_answers, exact)["value"],
        "busy_s": round(share.busy_s, 3),
        "source": exact.value,
    }


def _slots(provenance: Mapping[str, object]) -> object:
    models = provenance.get("models")
    return [model["slots"] for model in models] if isinstance(models, list) else []


def _time(progress: Progress, run: Run) -> dict[str, object]:
    spent, wall_s = progress.spent, run.finished_at - run.started_at
    read_tokens = spent.prompt_tokens - spent.cached_tokens
    saved_s = spent.cached_tokens * spent.prefill_s / read_tokens if read_tokens and spent.prefill_s else None
    source = Source.UNKNOWN if cached_source(progress) is Source.UNKNOWN else Source.ESTIMATE
    return {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "wall_s": round(wall_s, 3),
        "worked_s": round(progress.worked_s, 3),
        "prefill_s": round(spent.prefill_s, 3),
        "decode_s": round(spent.decode_s, 3),
        "loads": run.account.loads,
        "load_s": run.account.load_s,
        # What was not read, at the rate at which the rest was read. Of all slots together, as prefill_s is.
        "prefill_saved_s": _known(None if saved_s is None else round(saved_s, 3), source),
    }


def _rates(progress: Progress) -> dict[str, object]:
    """Each per second. Prefill and decode are those of one slot while others work beside it."""
    spent = progress.spent
    read_tokens = spent.prompt_tokens - spent.cached_tokens
    all_tokens = spent.prompt_tokens + spent.completion_tokens
    return {
        "prefill_tokens_per_s": _known(_per_s(read_tokens, spent.prefill_s), cached_source(progress)),
        "decode_tokens_per_s": _number(_per_s(spent.completion_tokens, spent.decode_s), Source.ENGINE),
        "total_tokens_per_s": _number(_per_s(all_tokens, progress.worked_s), CLOCK),
        "requests_per_s": _number(_per_s(computed(progress), progress.worked_s), CLOCK),
    }


def _per_s(count: int, duration_s: float) -> float | None:
    return round(count / duration_s, 3) if duration_s else None
