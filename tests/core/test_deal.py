"""The deal, against the best that an exhaustive search finds, and against no plan at all."""

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.deal import Ground, Piece, Slot, cost, deal, ground_of
from batchd.core.lanes import ANSWER_TOKENS, Lanes
from batchd.core.record import Group

KINDS = ("zipf", "uniform", "nested", "adversarial")


@dataclass(frozen=True)
class Workload:
    """Runs of (requests, prefix tokens, tokens shared with the run before), and how long an answer takes."""

    runs: tuple[tuple[int, int, int], ...]
    slots: int
    answer_tokens: float

    @property
    def ground(self) -> Ground:
        prefix, shared = (array("I", [run[at] for run in self.runs]) for at in (1, 2))
        return ground_of(prefix, shared, self.answer_tokens)

    @property
    def pieces(self) -> list[Piece]:
        pieces, start = [], 0
        for number, (count, _, _) in enumerate(self.runs):
            pieces.append((number, start, start + count))
            start += count
        return pieces

    def price(self, worked: Sequence[Sequence[int]]) -> float:
        """What it costs when each slot works on these runs, request by request."""
        ground, read = self.ground, 0
        for runs in worked:
            read += sum(ground.unread(one, other) for one, other in zip([-1, *runs], runs, strict=False))
        return read + self.answer_tokens * max(map(len, worked))


def workload(kind: str, seed: int, most: int) -> Workload:
    """`most`: requests in all, roughly."""
    chance = random.Random(f"{kind} {seed}")
    count = chance.randint(1, 4 if most < 20 else 12)
    if kind == "zipf":
        sizes = [max(1, most // (2 * (rank + 1))) for rank in range(count)]
    elif kind == "adversarial":
        sizes = chance.choice([[3, 3, 2, 2, 2], [1, most], [most, 1, 1, 1], [5, 4, 3], [2, 2, 2]])
    else:
        sizes = [chance.randint(1, max(1, most // count)) for _ in range(count)]
    shared = 0
    runs: list[tuple[int, int, int]] = []
    for size in sizes:
        least = shared if kind == "nested" else 0
        prefix = least + chance.choice([0, 10, 200, 2_000])
        runs.append((size, prefix, min(shared, runs[-1][1], prefix) if runs else 0))
        shared = chance.choice([0, 500, 1_000]) if kind == "nested" else 0
    return Workload(tuple(runs), chance.randint(1, 3), chance.choice([1.0, 100.0, 700.0, 5_000.0]))


def best(work: Workload) -> float:
    """Every way to give each slot so many requests of each run. In a slot, the plan's order is the best."""
    ground = work.ground
    unions = {}
    for held in product((False, True), repeat=len(work.runs)):
        runs = [number for number, is_held in enumerate(held) if is_held]
        unions[held] = sum(ground.unread(one, other) for one, other in zip([-1, *runs], runs, strict=False))
    ways = [list(_parts(count, work.slots)) for count, _, _ in work.runs]
    return min(
        sum(unions[tuple(part[slot] > 0 for part in way)] for slot in range(work.slots))
        + work.answer_tokens * max(sum(part[slot] for part in way) for slot in range(work.slots))
        for way in product(*ways)
    )


def _parts(count: int, slots: int) -> Iterator[tuple[int, ...]]:
    if slots == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _parts(count - first, slots - 1):
            yield (first, *rest)


def naive(work: Workload, seed: int) -> float:
    """The order of the input: shuffled, or dealt out by somebody who wishes us ill."""
    order = [number for number, (count, _, _) in enumerate(work.runs) for _ in range(count)]
    random.Random(seed).shuffle(order)
    return work.price([order[slot :: work.slots] for slot in range(work.slots)])


def dealt(work: Workload) -> float:
    slots = [Slot()] * work.slots
    return cost(work.ground, deal(work.ground, work.pieces, slots), slots)


@pytest.mark.parametrize("kind", KINDS)
def test_small_workloads_cost_hardly_more_than_the_best_of_all_deals(kind: str) -> None:
    for seed in range(50):
        work = workload(kind, seed, 8)
        assert dealt(work) <= 1.10 * best(work), work


@pytest.mark.parametrize("kind", KINDS)
def test_no_workload_costs_more_than_without_a_plan(kind: str) -> None:
    for seed in range(50):
        for most in (8, 200):
            work = workload(kind, seed, most)
            assert dealt(work) <= naive(work, seed), work


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_answer_at_one_pace_cost_what_was_dealt(kind: str) -> None:
    for seed in range(50):
        drawn = workload(kind, seed, 30)
        work = Workload(drawn.runs, drawn.slots, ANSWER_TOKENS)
        groups = [
            Group("m", "/v1", piece[1], run[0], run[1], 1_000, run[2])
            for piece, run in zip(work.pieces, work.runs, strict=True)
        ]
        total = sum(run[0] for run in work.runs)
        lanes = Lanes(groups, array("I", range(total)), bytearray(total), work.slots)
        worked: list[list[int]] = [[] for _ in range(work.slots)]
        while lanes.left:
            ahead = [0] * work.slots
            for slot in range(work.slots):
                if (pick := lanes.take(slot, ahead)) is not None:
                    worked[slot].append(pick.run)
                    ahead[slot] = 1
        assert work.price(worked) <= 1.02 * dealt(work), work


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=9),
    st.integers(1, 9),
    st.floats(0, 1_000),
)
def test_every_request_is_dealt_to_one_slot(
    drawn: list[tuple[int, int, int]], slots: int, answer_tokens: float
) -> None:
    runs = [(count, prefix, min(shared, prefix)) for count, prefix, shared in drawn]
    work = Workload(tuple(runs), slots, answer_tokens)
    queues = deal(work.ground, work.pieces, [Slot()] * slots)
    assert len(queues) == slots
    found = sorted(number for queue in queues for _, start, end in queue for number in range(start, end))
    assert found == list(range(sum(count for count, _, _ in drawn)))
    assert all(queue == sorted(queue) for queue in queues)


def test_a_slot_goes_on_with_what_it_holds() -> None:
    work = Workload(((4, 1_000, 0), (4, 1_000, 0)), 2, 10.0)
    queues = deal(work.ground, work.pieces, [Slot(1), Slot(0)])
    assert [[piece[0] for piece in queue] for queue in queues] == [[1], [0]]


def test_a_hundred_thousand_runs_are_dealt() -> None:
    work = Workload(tuple((1, 50, 20) for _ in range(100_000)), 4, 1_000.0)
    queues = deal(work.ground, work.pieces, [Slot()] * 4)
    assert [sum(end - start for _, start, end in queue) for queue in queues] == [25_000] * 4


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40), st.data())
def test_what_two_runs_share_is_the_least_between_them(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    drawn = drawn * 40
    ground = ground_of(array("I", [one for one, _ in drawn]), array("I", [other for _, other in drawn]), 1.0)
    one, other = (data.draw(st.integers(0, len(drawn) - 1)) for _ in range(2))
    expected = (
        drawn[one][0]
        if one == other
        else min(run[1] for run in drawn[min(one, other) + 1 : max(one, other) + 1])
    )
    assert ground.common(one, other) == ground.common(other, one) == expected
    assert ground.common(-1, one) == 0


def test_a_slot_that_owes_answers_gets_less() -> None:
    work = Workload(((8, 0, 0),), 2, 10.0)
    queues = deal(work.ground, work.pieces, [Slot(-1, 4), Slot(-1, 0)])
    assert [sum(end - start for _, start, end in queue) for queue in queues] == [2, 6]


def test_more_slots_than_are_worth_their_beginnings_stay_idle() -> None:
    """Three read the beginning and answer nine each; six would read it six times to answer five."""
    assert dealt(Workload(((26, 200, 0),), 6, 100.0)) == 3 * 200 + 9 * 100
