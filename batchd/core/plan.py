"""The plan: the order of the requests, made once at intake and journaled.

SUMMARY
    Models run one after the other, in the order of their first line, because a change of model is a load. So
    is a change of the window: requests of one model whose windows differ by more than `WINDOW_RATIO` run in
    loads of their own, the smaller windows first, unless they are too few to pay for a load. However few
    there are, requests that need the largest window that is allowed (their bound is lowered to what it
    leaves) run last, in a load of their own, so that nobody else pays for it. A prompt that fills even that
    one is sent with the largest of the others: the engine's count may be another.

    Within a load, groups that begin alike stand side by side: what is inside of a group comes before the rest
    of it, the large ones first. A `Group` of the plan is a run of one prefix group in one load, and says how
    much of its beginning it shares with the run before it. Inside a run the long answers come first, so that
    no lane is left alone with one at the end; then requests that share more stand together.

DIAGNOSTICS
    None: arrays in, arrays out.
"""

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from batchd.core.fit import WINDOW_TOKENS_MIN
from batchd.core.prefix import PrefixGroups, Tree, prefix_tokens
from batchd.core.record import Group, Plan

#: Windows of one load may differ so much. The KV cache is paid for in full by the shortest request.
WINDOW_RATIO = 4

#: Fewer requests than this run in the larger window of others: a load takes as long as some tens of answers.
LOAD_REQUESTS_MIN = 64

#: Bounds have 31 bits.
_BOUND_BITS = 32
_BOUND_MAX = (1 << _BOUND_BITS) - 1

#: (load, group): where requests are worked on one after the other.
_Run = tuple[int, int]


def build_plan(found: PrefixGroups, line_count: int) -> Plan:
    """Order the requests that were found among so many lines."""
    tree = found.tree()
    most = found.window_tokens_max
    loads = [_loads(needs, most) for needs in _needs(found, tree)]
    runs: defaultdict[_Run, int] = defaultdict(int)
    windows: dict[_Run, tuple[int, int]] = {}  # of the shortest and of the longest request
    run_of: list[_Run] = []
    known: dict[_Run, _Run] = {}
    for number, group in enumerate(tree.group_of):
        need, least, ends = found.need[number], found.least[number], loads[tree.family[group]]
        run = (min(bisect_left(ends, need), len(ends) - 1), group)
        run_of.append(known.setdefault(run, run))  # one object for all: there may be a million
        if not found.is_copy[number]:
            runs[run] += 1
            shortest, longest = windows.get(run, (least, need))
            windows[run] = (min(shortest, least), _wider(longest, need, most))
    sequence = sorted(runs, key=_keys(tree, found.families, runs).__getitem__)
    order = _order(found, tree, run_of, {run: place for place, run in enumerate(sequence)})
    return Plan(line_count, tuple(_groups(found, tree, sequence, runs, windows)), order)


def _needs(found: PrefixGroups, tree: Tree) -> list[Counter[int]]:
    """How many requests of each family need which window."""
    needs: list[Counter[int]] = [Counter() for _ in found.families]
    most = found.window_tokens_max
    for group, need, is_copy in zip(tree.group_of, found.need, found.is_copy, strict=True):
        if not is_copy:
            needs[tree.family[group]][need if need > most else min(max(need, WINDOW_TOKENS_MIN), most)] += 1
    return needs


def _wider(longest: int, need: int, window_tokens_max: int) -> int:
    """The window of both; what no window holds says nothing about that of the others."""
    if max(longest, need) > window_tokens_max:
        return min(longest, need)
    return max(longest, need)


def _loads(needs: Mapping[int, int], window_tokens_max: int) -> list[int]:
    """The largest need of each load of a family, ascending; those of the largest window are alone."""
    ends: list[int] = []
    start = count = 0
    for need in sorted(need for need in needs if need < window_tokens_max):
        if not ends or (need > start * WINDOW_RATIO and count >= LOAD_REQUESTS_MIN):
            ends.append(need)
            start, count = need, 0
        ends[-1] = need
        count += needs[need]
    return ends if ends and window_tokens_max not in needs else [*ends, window_tokens_max]


def _keys(
    tree: Tree, families: Sequence[tuple[str, str]], runs: Mapping[_Run, int]
) -> dict[_Run, tuple[int, ...]]:
    """What puts the runs in order: model, endpoint, load, and the place of the group in its tree."""
    models: dict[str, int] = {}
    for model, _ in families:
        models.setdefault(model, len(models))
    place = _places(tree)
    return {
        (load, group): (models[families[tree.family[group]][0]], tree.family[group], load, place[group])
        for load, group in runs
    }


def _places(tree: Tree) -> "array[int]":
    """Inner groups before the outer one, siblings by size: the number of each group in that order."""
    inner: defaultdict[int, list[int]] = defaultdict(list)
    for group, parent in enumerate(tree.parent):
        inner[parent].append(group)
    for siblings in inner.values():
        siblings.sort(key=lambda group: (tree.requests_below[group], -tree.first[group]))
    place = array("I", bytes(4 * len(tree.parent)))
    # Outer before inner and small before large, then numbered from the end.
    waiting = list(reversed(inner[-1]))
    for number in range(len(tree.parent) - 1, -1, -1):
        group = waiting.pop()
        place[group] = number
        waiting.extend(reversed(inner[group]))
    return place


def _order(
    found: PrefixGroups, tree: Tree, run_of: Sequence[_Run], places: Mapping[_Run, int]
) -> "array[int]":
    """The line indices, run by run."""
    numbers = [number for number, is_copy in enumerate(found.is_copy) if not is_copy]
    clusters = array("I", (found.cluster(number, group, tree) for number, group in enumerate(tree.group_of)))
    numbers.sort(key=clusters.__getitem__)
    ranks = array("Q")
    for run, bound in zip(run_of, found.bound, strict=True):
        ranks.append(places[run] << _BOUND_BITS | (_BOUND_MAX - bound) if run in places else 0)
    numbers.sort(key=ranks.__getitem__)
    return array("I", (found.index[number] for number in numbers))


def _groups(
    found: PrefixGroups,
    tree: Tree,
    sequence: Sequence[_Run],
    runs: Mapping[_Run, int],
    windows: Mapping[_Run, tuple[int, int]],
) -> list[Group]:
    groups: list[Group] = []
    start, before = 0, None
    for run in sequence:
        load, group = run
        model, endpoint = found.families[tree.family[group]]
        shared = tree.meeting(before[1], group) if before is not None and before[0] == load else -1
        groups.append(
            Group(
                model,
                endpoint,
                start,
                runs[run],
                prefix_tokens(tree.bytes_shared[group]),
                windows[run][1],
                prefix_tokens(tree.bytes_shared[shared]) if shared >= 0 else 0,
                load,
                windows[run][0],
            )
        )
        start, before = start + runs[run], run
    return groups
