import pytest

from batchd.core.fault import TOLD_CHARS_MAX, Category, ModelFault
from batchd.core.model import Load
from batchd.core.request import Endpoint
from batchd.core.serverstate import State
from batchd.core.standing import (
    CANARY_REFUSALS_MAX,
    Standing,
    Trouble,
    canary,
    given_up,
    shortened,
    unusable,
)

REFUSED = ModelFault(Category.VALIDATION, "no", is_temporary=False)


def test_ready_and_busy_answer_requests() -> None:
    assert {state for state in State if Standing(state).is_ready} == {State.READY, State.BUSY}


def test_a_canary_may_be_refused_a_few_times() -> None:
    trouble = Trouble()
    said = [trouble.of_canary(REFUSED).is_temporary for _ in range(CANARY_REFUSALS_MAX)]
    assert said == [*[True] * (CANARY_REFUSALS_MAX - 1), False]
    assert trouble.of_canary(ModelFault(Category.SERVER, "busy", is_temporary=True)).is_temporary


def test_a_canary_asks_for_what_the_model_is_for() -> None:
    assert canary(Load("m", 1, 1)).endpoint is Endpoint.CHAT
    assert canary(Load("m", 1, 1, is_embedding=True)).inputs == ("ready?",)


@pytest.mark.parametrize(
    ("fault", "category"),
    [
        (None, Category.CRASH),
        (REFUSED, Category.SERVER),
        (ModelFault(Category.OOM, "", is_temporary=True), Category.OOM),
    ],
)
def test_who_waited_too_long_is_told_for_how_long_and_why(
    fault: ModelFault | None, category: Category
) -> None:
    ended = given_up(60.0, "out of memory", fault)
    assert (ended.category, ended.is_temporary) == (category, False)
    assert "60 s (give_up_s); the last time: out of memory" in ended.message


def test_what_a_server_says_at_length_is_shortened() -> None:
    assert len(shortened(ModelFault(Category.MODEL, "x" * 5_000, is_temporary=False))) == TOLD_CHARS_MAX


def test_a_foreground_run_that_cannot_wait_says_what_to_do() -> None:
    error = unusable(REFUSED)
    assert "no" in error.message
    assert "goes on where it stopped" in error.next_step
