"""Ideal: how few prompt tokens a batch could have cost, from what the engine told of its answers.

SUMMARY
    Every group's shared beginning once, and all in which its requests differ. The first request of a group
    finds what its group shares with the one before it in the plan:

        ideal = prompt - sum over groups of ((answers - 1) * shared + shared with the group before)

    That is also the best for a server that keeps the prompts which a slot gave up, and brings them into any
    slot: of all groups, the one before in the plan shares the most with a group. Where slots share nothing,
    each slot of a group reads its beginning, so that the ideal is reached in one slot only.

    A long beginning is subtracted once for each answer, so one token of error in it is one for each answer,
    and an estimate from bytes is off by some twenty. The cached counts that the engine reports for each
    answer are exact: a slot that has just answered a request of the group reads again only what comes after
    what the two share. What nearly all of them share is the group's beginning. Cold answers, the first in
    their slot, say nothing and are left out.

    A group without such an answer gets its estimate, scaled as the measured groups are, or, where none is
    measured, as the whole batch is.

DIAGNOSTICS
    None: values in, numbers out.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from batchd.core.json import loads
from batchd.core.record import Group, Plan

#: Answers that are looked at: reading them takes 0.1 s, and a few of each group are enough.
SAMPLES_MAX = 2_000

#: Of the estimated beginning, which may be twice as long as the real one: with less of it in the slot, it was
#: not there.
HIT_SHARE = 0.25

#: A shorter beginning says nothing: some templates are as long.
TELLING_TOKENS = 128

#: Of the estimated beginning; an answer that had less of it in its slot was cold.
_WARM_SHARE = 0.5

#: This share of the warm answers may have had less: a beginning of which a part was lost from the cache.
_ODD_SHARE = 0.05


def cached_tokens(result_line: bytes) -> int | None:
    """What the engine reported of this answer; None where it reported nothing, and for an error line."""
    line: dict[str, Any] = loads(result_line)  # type: ignore[assignment]  # we wrote it
    body = (line["response"] or {}).get("body", {})
    details: Mapping[str, Any] = body.get("usage", {}).get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    return cached if isinstance(cached, int) else None


def measure_shared(plan: Plan, scale: float, samples: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Group number to the tokens of its beginning. `samples`: line index and cached tokens of some answers.

    `scale`: what the engine counted for each estimated token.
    """
    cached = dict(samples)
    seen: defaultdict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(plan.groups):
        warm_from = max(1.0, group.prefix_tokens * scale * _WARM_SHARE)
        for index in _run(plan.order, group) if group.prefix_tokens else ():
            if cached.get(index, 0) >= warm_from:
                seen[number].append(cached[index])
    return {number: sorted(warm)[int(len(warm) * _ODD_SHARE)] for number, warm in seen.items()}


def is_cold(cached_tokens: int | None, prefix_tokens: int) -> bool:
    """Whether so few tokens were found that the beginning, as estimated, was neither in the slot nor brought
    there from the server's memory."""
    return (
        prefix_tokens >= TELLING_TOKENS
        and cached_tokens is not None
        and cached_tokens < prefix_tokens * HIT_SHARE
    )


def saved_tokens(group: Group) -> int:
    """Estimated prompt tokens of this group that need not be read again."""
    return (group.count - 1) * group.prefix_tokens + group.shared_tokens


def ideal_tokens(
    prompt_tokens: int, completed: int, groups: Sequence[Group], scale: float, shared: Mapping[int, int]
) -> int:
    """`shared` as measured. Where a batch ended early, the same part of each group is taken as answered."""
    estimated = sum(groups[number].prefix_tokens for number in shared)
    if estimated:
        scale = sum(shared.values()) / estimated
    planned = sum(group.count for group in groups)
    part = min(1.0, completed / planned) if planned else 0.0
    again = sum(
        max(0.0, group.count * part - 1) * shared.get(number, group.prefix_tokens * scale)
        + group.shared_tokens * scale * part
        for number, group in enumerate(groups)
    )
    return max(0, round(prompt_tokens - again))


def _run(order: "array[int]", group: Group) -> "array[int]":
    return order[group.start : group.start + group.count]
