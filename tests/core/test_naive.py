"""Naive: the lines of the file in their order, whoever asks."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.model import Source, Usage
from batchd.core.naive import Naive
from batchd.core.record import Group

GROUPS = (Group("m", "/v1", 0, 3, 400, 1_000), Group("m", "/v1", 3, 4, 900, 2_000))


def test_lines_come_in_input_order_whatever_the_plan_says() -> None:
    naive = Naive(GROUPS, array("I", [4, 0, 2, 6, 1, 3, 5]), bytearray(7))
    assert repr(naive) == "Naive(7 left)"
    picks = [naive.take(slot, (0, 0)) for slot in (0, 1, 1, 0, 0, 1, 0)]
    assert [pick.index for pick in picks if pick] == [0, 1, 2, 3, 4, 5, 6]
    assert naive.take(0, (0, 0)) is None
    assert naive.left == 0


def test_nothing_is_expected_of_the_slots_and_any_may_help() -> None:
    naive = Naive(GROUPS, array("I", range(7)), bytearray(7))
    pick = naive.take(1, ())
    assert pick is not None
    assert [naive.learn(1, pick.run, Usage(900, 5, 0, Source.ENGINE, None, None)) for _ in range(9)] == [
        None
    ] * 9
    assert naive.may_help(0, pick.run, 1)


@given(st.permutations(range(7)), st.lists(st.integers(0, 1), min_size=7, max_size=7))
def test_every_pending_line_is_given_once_and_no_other(order: list[int], finished: list[int]) -> None:
    naive = Naive(GROUPS, array("I", order), bytearray(finished))
    given_out = []
    while naive.left:
        pick = naive.take(0, (0,))
        assert pick is not None
        given_out.append(pick.index)
    assert given_out == [index for index, is_done in enumerate(finished) if not is_done]


def test_what_a_server_that_leaves_had_not_sent_comes_first_and_in_order() -> None:
    naive = Naive(GROUPS, array("I", range(7)), bytearray(7))
    assert (naive.join(2), naive.join(1), naive.slot_count) == ([0, 1], [2], 3)
    picks = [pick for _ in range(4) if (pick := naive.take(0, ())) is not None]
    naive.leave([0, 1], [picks[3], picks[1]])
    assert (naive.left, naive.join(1)) == (5, [0])
    given = []
    while (pick := naive.take(2, ())) is not None:
        given.append(pick.index)
    assert given == [1, 3, 4, 5, 6]
