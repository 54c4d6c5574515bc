"""The deal: which slot works on which runs of the plan, so that a batch ends early.

SUMMARY
    What a slot must read before an answer is what its request does not share with the one before it there.
    Reading is the work of the whole device, whoever asks for it; answers are written side by side. So

        cost = tokens read by all slots + tokens that could be read in the time of the longest slot's answers

    Every slot that takes part in a run reads its beginning once more, and a slot that idles makes the longest
    one longer: the cost says what is dearer. `deal` tries each number of slots in two ways: it cuts the plan
    into stretches, and it packs runs that share nothing. `improve` moves runs and parts of runs from slot to
    slot as long as that pays, and is all that is needed when a slot has nothing left.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapreplace, nsmallest
from itertools import accumulate, pairwise
from operator import add
from typing import NamedTuple

#: (run, start, end): requests of one run, by their places in the order of work.
Piece = tuple[int, int, int]
Queues = list[list[Piece]]

#: Pieces of a slot that are tried in one round, the largest and the last ones; and slots that may take them.
_PIECES_TRIED = 8
_SLOTS_TRIED = 6

#: Rounds of `improve`: each makes the deal better. There are hardly ever so many, and in a large deal the
#: first ones find what is worth finding.
_ROUNDS_MAX = 400
_ROUNDS_FEW = 32

#: Pieces times slots: up to here each slot gives, beyond only the longest one.
_MOVES_FEW = 512

#: With more pieces than this every slot is busy for long: fewer slots are not tried.
_PIECES_MANY = 4_096


#: Runs of which the least shared tokens are known together.
_BLOCK = 256


class Slot(NamedTuple):
    """The run that the slot has read last (-1: none), and the answers that it owes already."""

    held: int = -1
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Ground:
    """The runs in the plan's order: tokens of the beginning of each, and those that it shares with the run
    before it. `answer_tokens`: tokens that could be read in the time of one answer. `kept`: of each run,
    whether the server has its beginning in memory, from where it comes into any slot; empty: of none."""

    prefix: "array[int]"
    shared: "array[int]"
    answer_tokens: float
    least: "array[int]"  # of each `_BLOCK` values of `shared`
    kept: bytearray = field(default_factory=bytearray)

    def common(self, one: int, other: int) -> int:
        """What two runs share; -1 stands for an empty slot."""
        if one < 0 or other < 0:
            return 0
        if one == other:
            return self.prefix[one]
        first, last = min(one, other) + 1, max(one, other) + 1
        if last - first <= 2 * _BLOCK:
            return min(self.shared[first:last])
        left, right = first // _BLOCK + 1, last // _BLOCK
        return min(
            *self.shared[first : left * _BLOCK], *self.least[left:right], *self.shared[right * _BLOCK : last]
        )

    def unread(self, before: int, run: int) -> int:
        """What a slot that held the one must read for the other."""
        if self.kept and self.kept[run]:
            return 0
        return self.prefix[run] - self.common(before, run)


def ground_of(prefix: "array[int]", shared: "array[int]", answer_tokens: float) -> Ground:
    """The ground of these runs."""
    least = array("I", (min(shared[at : at + _BLOCK]) for at in range(0, len(shared), _BLOCK)))
    return Ground(prefix, shared, answer_tokens, least)


def cost(ground: Ground, queues: Queues, slots: Sequence[Slot]) -> float:
    """What is left to do."""
    read = sum(
        ground.unread(before, run)
        for slot, queue in enumerate(queues)
        for before, run in pairwise([slots[slot].held, *(piece[0] for piece in queue)])
    )
    longest: int = max(map(add, map(_load, queues), (slot.ahead for slot in slots)))
    return read + ground.answer_tokens * longest


def deal(ground: Ground, pending: Sequence[Piece], slots: Sequence[Slot]) -> Queues:
    """These pieces, which are in the plan's order, for these slots."""
    count = len(slots)
    if not pending:
        return [[] for _ in slots]
    best: Queues = [list(pending), *([] for _ in range(count - 1))]
    least = cost(ground, best, slots)
    for width in _widths(count) if len(pending) <= _PIECES_MANY else [count]:
        for dealt in (_cut(ground, pending, width), _pack(ground, pending, width)):
            queues = [*dealt, *([] for _ in range(count - width))]
            improve(ground, queues, slots)
            price = cost(ground, queues, slots)
            if price < least:
                best, least = queues, price
    return best


def improve(ground: Ground, queues: Queues, slots: Sequence[Slot]) -> None:
    """Move pieces from slot to slot as long as that pays."""
    loads = list(map(add, map(_load, queues), (slot.ahead for slot in slots)))
    for _ in range(_ROUNDS_MAX if _is_small(queues) else _ROUNDS_FEW):
        gain, move = max(_moves(ground, queues, slots, loads), default=(0.0, None))
        if move is None or gain <= 0:
            return
        giver, taker, piece, count = move
        run, start, end = piece
        queues[giver].remove(piece)
        if count < end - start:
            insort(queues[giver], (run, start, end - count))
        insort(queues[taker], (run, end - count, end))
        loads[giver] -= count
        loads[taker] += count


#: (giver, taker, piece, how many of its last requests).
_Move = tuple[int, int, Piece, int]


def _moves(
    ground: Ground, queues: Queues, slots: Sequence[Slot], loads: Sequence[int]
) -> Iterator[tuple[float, _Move]]:
    by_load = sorted(range(len(queues)), key=loads.__getitem__)
    longest = loads[by_load[-1]]
    second = loads[by_load[-2]] if len(by_load) > 1 else 0
    is_small = _is_small(queues)
    for giver in by_load if is_small else by_load[-1:]:
        rest = second if giver == by_load[-1] else longest
        for piece in _tried(queues[giver]):
            size = piece[2] - piece[1]
            spared = _spared(ground, queues[giver], slots[giver].held, piece)
            for taker in _takers(queues, by_load, piece, is_small):
                if taker == giver:
                    continue
                more = _added(ground, queues[taker], slots[taker].held, piece)
                for count in {size, min(size, max(1, (loads[giver] - loads[taker]) // 2))}:
                    after = max(rest, loads[giver] - count, loads[taker] + count)
                    read = more - (spared if count == size else 0)
                    yield (longest - after) * ground.answer_tokens - read, (giver, taker, piece, count)


def _tried(queue: list[Piece]) -> list[Piece]:
    if len(queue) <= 2 * _PIECES_TRIED:
        return queue
    largest = nsmallest(_PIECES_TRIED, queue, key=lambda piece: piece[1] - piece[2])
    return [*largest, *queue[-_PIECES_TRIED:]]


def _takers(queues: Queues, by_load: Sequence[int], piece: Piece, is_small: bool) -> Iterator[int]:
    if is_small:
        yield from by_load
        return
    yield from by_load[:_SLOTS_TRIED]
    for slot in by_load[_SLOTS_TRIED:]:
        place = bisect_left(queues[slot], piece)
        if any(near[0] == piece[0] for near in queues[slot][max(0, place - 1) : place + 1]):
            yield slot


def _spared(ground: Ground, queue: list[Piece], held: int, piece: Piece) -> int:
    """Tokens that the slot need not read without this piece."""
    place = bisect_left(queue, piece)
    before = queue[place - 1][0] if place else held
    spared = ground.unread(before, piece[0])
    if place + 1 < len(queue):
        after = queue[place + 1][0]
        spared += ground.unread(piece[0], after) - ground.unread(before, after)
    return spared


def _added(ground: Ground, queue: list[Piece], held: int, piece: Piece) -> int:
    """Tokens that the slot must read with this piece, or a part of it, at its place."""
    place = bisect_left(queue, piece)
    before = queue[place - 1][0] if place else held
    added = ground.unread(before, piece[0])
    if place < len(queue):
        after = queue[place][0]
        added += ground.unread(piece[0], after) - ground.unread(before, after)
    return added


def _cut(ground: Ground, pending: Sequence[Piece], width: int) -> Queues:
    """The plan in stretches of about one length, cut where little is shared."""
    before = list(accumulate((end - start for _, start, end in pending), initial=0))
    total = before[-1]
    ends = [0]
    for part in range(1, width):
        middle = total * part // width
        inside = min(bisect_right(before, middle) - 1, len(pending) - 1)
        tried = [(ground.prefix[pending[inside][0]] + 0.0, middle)]
        for at in range(max(1, inside - _PIECES_TRIED), min(len(pending), inside + _PIECES_TRIED)):
            shared = ground.common(pending[at - 1][0], pending[at][0])
            tried.append((shared + ground.answer_tokens * abs(before[at] - middle), before[at]))
        ends.append(max(ends[-1], min(tried)[1]))
    return [list(_stretch(pending, before, start, end)) for start, end in pairwise([*ends, total])]


def _stretch(pending: Sequence[Piece], before: Sequence[int], first: int, last: int) -> Iterator[Piece]:
    """The requests from the first to before the last, counted over all pieces."""
    at = bisect_right(before, first) - 1
    while first < last:
        run, start, _ = pending[at]
        stop = min(last, before[at + 1])
        yield (run, start + first - before[at], start + stop - before[at])
        first, at = stop, at + 1


def _pack(ground: Ground, pending: Sequence[Piece], width: int) -> Queues:
    """Pieces that share something stay together; the largest first, each to the slot with the least."""
    stretches: list[list[Piece]] = []
    for piece in pending:
        if stretches and ground.common(stretches[-1][-1][0], piece[0]):
            stretches[-1].append(piece)
        else:
            stretches.append([piece])
    queues: Queues = [[] for _ in range(width)]
    loads = [(0, slot) for slot in range(width)]
    for stretch in sorted(stretches, key=_load, reverse=True):
        load, slot = loads[0]
        queues[slot].extend(stretch)
        heapreplace(loads, (load + _load(stretch), slot))
    for queue in queues:
        queue.sort()
    return queues


def _is_small(queues: Queues) -> bool:
    return sum(map(len, queues)) * len(queues) <= _MOVES_FEW


def _load(queue: Sequence[Piece]) -> int:
    return sum(end - start for _, start, end in queue)


def _widths(slots: int) -> list[int]:
    """Some numbers of slots, each at most half as large again as the one before."""
    steps = accumulate(range(16), lambda width, _: max(width + 1, width * 3 // 2), initial=1)
    return sorted({min(width, slots) for width in steps})
