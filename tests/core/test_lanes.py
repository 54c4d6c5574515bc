from array import array

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.lanes import Lanes
from batchd.core.record import Group


def groups_of(sizes: list[int]) -> list[Group]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [Group("m", "/v1", start, size, 100, 1_000) for start, size in zip(starts, sizes, strict=True)]


def lanes(sizes: list[int], slots: int, finished: bytearray | None = None) -> Lanes:
    total = sum(sizes)
    return Lanes(groups_of(sizes), array("I", range(total)), finished or bytearray(total), slots)


def deal(found: Lanes, slots: int) -> list[list[int]]:
    """All slots answer at the same pace."""
    given_out: list[list[int]] = [[] for _ in range(slots)]
    while True:
        row = [found.take(slot) for slot in range(slots)]
        if row == [None] * slots:
            return given_out
        for slot, index in enumerate(row):
            if index is not None:
                given_out[slot].append(index)


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 5))
def test_every_line_is_given_exactly_once(sizes: list[int], slots: int) -> None:
    given_out = deal(lanes(sizes, slots), slots)
    assert sorted(index for lane in given_out for index in lane) == list(range(sum(sizes)))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 5))
def test_no_slot_idles_while_anything_is_pending(sizes: list[int], slots: int) -> None:
    counts = [len(lane) for lane in deal(lanes(sizes, slots), slots)]
    assert max(counts) - min(counts) <= 1


def test_a_slot_stays_with_its_group() -> None:
    assert deal(lanes([4, 4], 2), 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_group_larger_than_its_share_is_spread_when_nothing_else_is_fresh() -> None:
    given_out = deal(lanes([9, 1], 2), 2)
    assert given_out[0][:2] == [0, 1]
    assert given_out[1][0] == 9
    assert len(given_out[1]) == 5


def test_the_largest_group_is_begun_first() -> None:
    found = lanes([2, 7, 3], 1)
    assert found.take(0) == 2


def test_finished_lines_are_passed_over() -> None:
    finished = bytearray(5)
    finished[0] = finished[3] = 1
    assert deal(lanes([5], 1, finished), 1) == [[1, 2, 4]]


def test_its_face_says_what_is_left_and_who_is_where() -> None:
    found = lanes([2, 3], 2)
    found.take(0)
    assert repr(found) == "Lanes(4 left, on [1, None])"
