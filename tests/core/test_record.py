import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import Category
from batchd.core.record import (
    NO_PROGRESS,
    LineRow,
    LineState,
    LineStatus,
    NewLine,
    Outcome,
    Spent,
    count,
    intake_outcome,
    state_after,
)

outcomes = st.builds(
    Outcome,
    index=st.integers(0, 9),
    line=st.none() | st.just(b"{}"),
    is_error=st.booleans(),
    category=st.none() | st.sampled_from(Category),
    spent=st.builds(Spent, prompt_tokens=st.integers(0, 9), prefill_s=st.integers(0, 9).map(float)),
)


@given(st.lists(outcomes, max_size=20))
def test_the_counters_are_the_sum_of_the_outcomes(run: list[Outcome]) -> None:
    progress = NO_PROGRESS
    for outcome in run:
        progress = count(progress, outcome)
    final = [outcome for outcome in run if outcome.line is not None]
    assert progress.failed == sum(outcome.is_error for outcome in final)
    assert progress.completed == len(final) - progress.failed
    assert progress.spent.prompt_tokens == sum(outcome.spent.prompt_tokens for outcome in run)
    assert progress.spent.prefill_s == sum(outcome.spent.prefill_s for outcome in run)
    for category in Category:
        assert progress.faults.get(category, 0) == sum(outcome.category is category for outcome in run)


def test_every_field_of_what_was_spent_is_summed() -> None:
    one = Spent(1, 2, 3, 4.0, 5.0, 6, 7, 8, 9)
    progress = count(count(NO_PROGRESS, Outcome(0, b"", spent=one)), Outcome(1, b"", spent=one))
    assert progress.spent == Spent(2, 4, 6, 8.0, 10.0, 12, 14, 16, 18)


def test_counting_leaves_the_earlier_counters_as_they_were() -> None:
    before = count(NO_PROGRESS, Outcome(0, None, category=Category.OOM))
    count(before, Outcome(0, None, category=Category.OOM))
    assert before.faults == {"oom": 1}


@pytest.mark.parametrize(
    ("line", "is_error", "status"),
    [(None, False, LineStatus.PENDING), (b"", False, LineStatus.COMPLETED), (b"", True, LineStatus.FAILED)],
)
def test_a_line_is_finished_by_an_outcome_with_a_line(
    line: bytes | None, is_error: bool, status: LineStatus
) -> None:
    outcome = Outcome(3, line, is_error, Category.CRASH, attempts=4, crashes=2)
    assert state_after(outcome) == LineState(status, 4, 2, Category.CRASH)


def test_a_line_that_came_in_faulty_is_a_failed_one_without_an_attempt() -> None:
    row = LineRow(0, 5, 1, -1, 1)
    outcome = intake_outcome(NewLine(7, row, b"{}"))
    assert outcome == Outcome(7, b"{}", is_error=True, category=Category.VALIDATION)
    assert intake_outcome(NewLine(7, row)) is None
