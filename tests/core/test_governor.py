from batchd.core.governor import Limits, after_out_of_memory
from batchd.core.model import Load

CAUSE = "insufficient memory"


def ladder(limits: Limits, load: Load, fitted: Load | None, window_tokens_min: int) -> list[tuple[int, int]]:
    """Slots and window of each step down, until nothing is left to shrink."""
    steps = []
    for _ in range(100):
        asked = limits.applied_to(load)
        limits, change = after_out_of_memory(limits, asked, fitted, window_tokens_min, CAUSE)
        if change is None:
            break
        assert change.cause == CAUSE
        smaller = limits.applied_to(load)
        steps.append((smaller.slots, smaller.window_tokens))
    return steps


def test_our_own_slots_are_halved_first_and_then_the_window() -> None:
    steps = ladder(Limits(8, owns_slots=True), Load("m", 4_096, 8), None, 1_024)
    assert steps == [(4, 4_096), (2, 4_096), (1, 4_096), (1, 2_048), (1, 1_024)]


def test_the_slots_of_an_attached_server_are_not_ours_to_change() -> None:
    assert ladder(Limits(4, owns_slots=False), Load("m", 4_096, 4), None, 1_024) == [(4, 2_048), (4, 1_024)]


def test_no_window_in_which_nothing_could_run() -> None:
    assert ladder(Limits(1, owns_slots=True), Load("m", 4_096, 1), None, 2_304) == []


def test_a_window_that_fitted_before_is_the_last_step_and_brings_its_slots_back() -> None:
    fitted = Load("m", 3_072, 4)
    steps = ladder(Limits(4, owns_slots=True), Load("m", 8_192, 4), fitted, 1_024)
    assert steps == [(2, 8_192), (1, 8_192), (1, 4_096), (4, 3_072), (2, 3_072), (1, 3_072)]


def test_what_fitted_once_is_not_too_large() -> None:
    fitted = Load("m", 4_096, 1)
    assert ladder(Limits(1, owns_slots=True), Load("m", 4_096, 1), fitted, 1_024) == []


def test_limits_never_give_more_than_was_asked_for() -> None:
    assert Limits(8, True, 9_999).applied_to(Load("m", 1_024, 2)) == Load("m", 1_024, 2)
