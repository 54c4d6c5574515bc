"""The plan: the order of the requests, made once at intake and journaled.

SUMMARY
    Models run one after the other, in the order of their first line, because a change of model is a load.
    Within a model the large groups come first, so that the small ones can fill the lanes at the end; groups
    of one request share nothing with anybody and are put together. Inside a group the long answers come
    first, so that no lane is left alone with one at the end; then the order of the input.

DIAGNOSTICS
    None: arrays in, arrays out.
"""

from array import array
from collections import Counter
from collections.abc import Sequence

from batchd.core.prefix import GroupSummary
from batchd.core.record import Group, Plan

#: (model number, url, singles last, minus the group's size, group, minus the bound): the order of work.
_Rank = tuple[int, str, bool, int, int, int]

#: Stands for all the groups of one request of a model and endpoint.
_SINGLES = -1


def build_plan(groups: Sequence[GroupSummary], group_of: "array[int]", bound_of: "array[int]") -> Plan:
    """Order the lines. `group_of[i]` is line i's group, or -1 for a faulty one; `bound_of[i]` its bound."""
    model_order: dict[str, int] = {}
    for group in groups:
        model_order.setdefault(group.model, len(model_order))
    buckets = Counter(zip(group_of, bound_of, strict=True))
    ranked = sorted(
        (_rank(groups, model_order, group, bound), (group, bound)) for group, bound in buckets if group >= 0
    )
    starts: dict[tuple[int, int], int] = {}
    position = 0
    for _, key in ranked:
        starts[key] = position
        position += buckets[key]
    order = array("I", bytes(4 * position))
    for index, key in enumerate(zip(group_of, bound_of, strict=True)):
        if key[0] >= 0:
            order[starts[key]] = index
            starts[key] += 1
    return Plan(len(group_of), tuple(_runs(groups, [(rank, buckets[key]) for rank, key in ranked])), order)


def _rank(groups: Sequence[GroupSummary], model_order: dict[str, int], group: int, bound: int) -> _Rank:
    summary = groups[group]
    is_single = summary.count == 1
    return (
        model_order[summary.model],
        summary.endpoint,
        is_single,
        0 if is_single else -summary.count,
        _SINGLES if is_single else group,
        -bound,
    )


def _runs(groups: Sequence[GroupSummary], ranked: Sequence[tuple[_Rank, int]]) -> list[Group]:
    """Merge neighbouring buckets of one group (or of the singles of one model) into its run."""
    names = dict(enumerate(dict.fromkeys(group.model for group in groups)))
    window_of_singles: dict[tuple[str, str], int] = {}
    for summary in groups:
        if summary.count == 1:
            family = (summary.model, summary.endpoint)
            window_of_singles[family] = max(window_of_singles.get(family, 0), summary.window_tokens)
    runs: list[Group] = []
    before: tuple[int, str, int] | None = None
    start = 0
    for (model, endpoint, _, _, group, _), count in ranked:
        if before == (model, endpoint, group):
            last = runs[-1]
            runs[-1] = Group(
                last.model,
                last.endpoint,
                last.start,
                last.count + count,
                last.prefix_tokens,
                last.window_tokens,
            )
        elif group == _SINGLES:
            window = window_of_singles[names[model], endpoint]
            runs.append(Group(names[model], endpoint, start, count, 0, window))
        else:
            shared = groups[group]
            runs.append(
                Group(shared.model, endpoint, start, count, shared.prefix_tokens, shared.window_tokens)
            )
        before = (model, endpoint, group)
        start += count
    return runs
