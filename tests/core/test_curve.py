"""The curve: every answer counted once, in a bounded number of points."""

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.curve import FIRST_STEP_S, POINTS_MAX, Curve


def paced(moments: list[float]) -> Curve:
    pace = Curve()
    for at in moments:
        pace = pace.with_answer(at)
    return pace


def test_answers_are_counted_by_the_step_from_the_first_one_on() -> None:
    assert paced([50.0, 50.2, 51.5, 53.0]) == Curve(50.0, FIRST_STEP_S, (2, 1, 0, 1))


def test_two_points_become_one_when_the_batch_outlasts_them() -> None:
    pace = paced([float(second) for second in range(POINTS_MAX + 1)])
    assert pace == Curve(0.0, 2 * FIRST_STEP_S, (2,) * (POINTS_MAX // 2) + (1,))


@given(st.lists(st.floats(-1e6, 1e9), max_size=50))
def test_there_are_never_too_many_points_and_no_answer_is_lost(moments: list[float]) -> None:
    pace = paced(moments)
    assert len(pace.answers) <= POINTS_MAX
    assert sum(pace.answers) == len(moments)


def test_a_clock_that_was_set_back_counts_for_the_first_step() -> None:
    assert paced([50.0, 10.0]).answers == (2,)
