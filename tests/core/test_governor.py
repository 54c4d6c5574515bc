"""The governor: what each event leads to, on paper."""

from collections.abc import Sequence

import pytest

from batchd.core.course import (
    Cohort,
    Course,
    Died,
    Fitted,
    Happening,
    Hung,
    Judged,
    Pressed,
    Spilled,
    TooLarge,
)
from batchd.core.governor import (
    JUDGED_ANSWERS_MIN,
    LOAD_PAID_FACTOR,
    WORN_COHORTS,
    WORN_SHARE,
    begin_batch,
    decide,
)
from batchd.core.limits import RENEWED, Change, Limits
from batchd.core.model import Load

TEXT = "insufficient memory"
LOAD = Load("m", 1_024, 8)


def begun(slots: int = 8, owns_slots: bool = True, fitted: Load | None = LOAD, load_s: float = 1.0) -> Course:
    course = Course.begin(Limits(slots, owns_slots))
    return after(course, Fitted(fitted, load_s)) if fitted is not None else course


def after(course: Course, *events: Happening) -> Course:
    for event in events:
        course, _ = decide(course, event)
    return course


def said(course: Course, event: Happening) -> Change:
    change = decide(course, event)[1]
    assert change is not None
    return change


def died(slots: int = 8, is_memory: bool = False, window: int = 1_024, smallest: int = 1_024) -> Died:
    return Died(Load("m", window, slots), smallest, is_memory, TEXT, 100.0)


def cohort(answers: int = 8, per_s: float = 10.0, is_full: bool = True, duration_s: float = 10.0) -> Cohort:
    return Cohort(answers, int(per_s * duration_s), duration_s, is_full, 200.0)


def good(course: Course, count: int, per_s: float = 10.0) -> Course:
    """Full cohorts of the present chunk, up to the first decision."""
    for _ in range(count):
        before = course.limits
        course = after(course, cohort(course.limits.slots, per_s))
        if course.limits != before:
            break
    return course


def ladder(
    course: Course, load: Load, window_tokens_min: int, fitted: Load | None = None
) -> Sequence[tuple[int, int]]:
    """Slots and window of each step down, until nothing is left to shrink."""
    if fitted is not None:
        course = after(course, Fitted(fitted, 1.0))
    steps = []
    for _ in range(100):
        asked = course.limits.applied_to(load)
        course, change = decide(course, TooLarge(asked, window_tokens_min, TEXT, 0.0))
        if change is None:
            break
        assert change.evidence == TEXT
        smaller = course.limits.applied_to(load)
        steps.append((smaller.slots, smaller.window_tokens))
    assert course.limits == course.given
    return steps


# Out of memory at load.


def test_our_own_slots_are_halved_first_and_then_the_window() -> None:
    steps = ladder(begun(8, fitted=None), Load("m", 4_096, 8), 1_024)
    assert steps == [(4, 4_096), (2, 4_096), (1, 4_096), (1, 2_048), (1, 1_024)]


def test_the_slots_of_an_attached_server_are_not_ours_to_change() -> None:
    assert ladder(begun(4, owns_slots=False, fitted=None), Load("m", 4_096, 4), 1_024) == [
        (4, 2_048),
        (4, 1_024),
    ]


def test_no_window_in_which_nothing_could_run() -> None:
    assert ladder(begun(1, fitted=None), Load("m", 4_096, 1), 2_304) == []


def test_a_window_that_fitted_before_is_the_last_step_and_brings_its_slots_back() -> None:
    steps = ladder(begun(4, fitted=None), Load("m", 8_192, 4), 1_024, Load("m", 3_072, 4))
    assert steps == [(2, 8_192), (1, 8_192), (1, 4_096), (4, 3_072), (2, 3_072), (1, 3_072)]


def test_what_fitted_once_is_not_too_large() -> None:
    assert ladder(begun(1, fitted=None), Load("m", 4_096, 1), 1_024, Load("m", 4_096, 1)) == []


def test_more_slots_that_do_not_fit_go_back_to_those_that_did() -> None:
    course = begun(8, fitted=Load("m", 1_024, 4))
    change = said(course, TooLarge(Load("m", 1_024, 6), 1_024, TEXT, 0.0))
    assert (change.name, change.old, change.new) == ("slots_back", "6", "4")


def test_a_batch_begins_with_its_large_windows() -> None:
    course = after(begun(1, fitted=None), TooLarge(Load("m", 4_096, 1), 1_024, TEXT, 0.0))
    assert course.limits.window_tokens == 2_048
    assert begin_batch(course).limits.window_tokens is None


# Beside the card.


def spilled(slots: int, gigabytes: int) -> Spilled:
    return Spilled(Load("m", 1_024, slots), 1_024, gigabytes * 10**9, "3 of 5 GB", 0.0)


def test_what_lies_beside_the_card_does_not_fit() -> None:
    course, change = decide(begun(8, fitted=None), spilled(8, 4))
    assert change is not None
    assert (change.name, change.new, change.evidence) == ("slots_halved", "4", "3 of 5 GB")
    assert course.edge.slots_max(1_024) == 7


def test_on_an_attached_server_the_window_goes_down_and_no_edge_is_learned() -> None:
    course, change = decide(begun(8, owns_slots=False, fitted=None), Spilled(LOAD, 256, 1, "", 0.0))
    assert change is not None
    assert (change.name, course.edge.cells) == ("window_reduced", None)


def test_weights_that_do_not_fit_into_the_card_are_used_as_they_lie() -> None:
    course = after(begun(8, fitted=None), spilled(8, 100))
    course, change = decide(course, spilled(4, 99))
    assert change is not None
    assert (change.name, course.limits) == ("spill_accepted", course.given)
    assert decide(course, spilled(8, 100)) == (course, None)


def test_at_the_smallest_load_what_lies_beside_the_card_is_accepted() -> None:
    assert said(begun(1, fitted=None), spilled(1, 4)).name == "spill_accepted"


# Deaths.


def test_a_death_halves_the_chunk_and_is_remembered() -> None:
    course, change = decide(begun(), died())
    assert change is not None
    assert (change.name, change.old, change.new) == ("slots_halved", "8", "4")
    assert course.edge.slots_max(1_024) == 6


def test_a_death_at_one_slot_shrinks_only_where_it_was_memory() -> None:
    course = begun(1, fitted=Load("m", 4_096, 1))
    assert decide(course, died(1, False, 4_096))[1] is None
    change = said(course, died(1, True, 4_096))
    assert (change.name, change.old, change.new) == ("window_reduced", "4096", "2048")
    assert decide(course, died(1, True, 4_096, smallest=4_096))[1] is None


def test_an_attached_servers_chunk_goes_down_before_its_window() -> None:
    assert said(begun(owns_slots=False), died(8, True)).name == "slots_halved"
    assert said(begun(owns_slots=False), died(1, True, 4_096)).name == "window_reduced"


def test_a_death_after_many_good_answers_is_wear_and_costs_no_slots() -> None:
    answers = 8 * WORN_COHORTS
    course = after(begun(), cohort(answers, is_full=False))
    course, change = decide(course, died())
    assert change is not None
    assert (change.name, change.old, change.new) == ("renewal_set", "never", str(int(WORN_SHARE * answers)))
    assert course.limits.slots == 8


def test_a_worn_load_is_renewed_in_good_order_and_then_lasts_longer() -> None:
    course = after(begun(), cohort(200, is_full=False), died(), Fitted(LOAD, 1.0))
    assert decide(course, cohort(150, is_full=False))[1] is None
    course, change = decide(course, cohort(160, is_full=False))
    assert change is not None
    assert (change.name, change.old, change.new) == (RENEWED, "160", "200")


def test_a_death_long_before_the_renewal_is_no_wear() -> None:
    course = after(begun(), cohort(1_000, is_full=False), died(), Fitted(LOAD, 1.0))
    assert said(after(course, cohort(200, is_full=False)), died()).name == "slots_halved"
    again = said(after(course, cohort(700, is_full=False)), died())
    assert (again.name, again.old, again.new) == ("renewal_set", "800", "560")


def test_silence_costs_a_tenth() -> None:
    assert said(begun(20), Hung(Load("m", 1_024, 20), TEXT)).new == "18"
    assert said(begun(2), Hung(Load("m", 1_024, 2), TEXT)).new == "1"
    assert decide(begun(1), Hung(Load("m", 1_024, 1), TEXT))[1] is None


def test_a_reading_above_its_mark_halves_the_chunk_then_the_window() -> None:
    course = begun()
    assert said(course, Pressed(LOAD, 1_024, "97 % of the card", 0.0)).new == "4"
    change = said(course, Pressed(Load("m", 4_096, 1), 1_024, "97 % of the card", 0.0))
    assert (change.name, change.evidence) == ("window_reduced", "97 % of the card")
    assert decide(course, Pressed(Load("m", 1_024, 1), 1_024, "", 0.0))[1] is None


# Whose fault it was.


def test_where_a_request_was_to_blame_the_limits_come_back() -> None:
    course = after(begun(), died(), died(4))
    assert course.limits.slots == 2
    course, change = decide(course, Judged(("poison",)))
    assert change is not None
    assert (change.old, change.new, change.evidence) == ("2 slots", "8 slots", "poison")
    assert course.edge == begun().edge


def test_where_nobody_was_to_blame_they_stay() -> None:
    course, change = decide(after(begun(), died()), Judged(()))
    assert (course.limits.slots, change) == (4, None)
    assert decide(course, Judged(("poison",)))[1] is None  # of another death, which took nothing


def test_a_window_comes_back_too() -> None:
    course = after(begun(1, fitted=Load("m", 4_096, 1)), died(1, True, 4_096))
    assert said(course, Judged(("greedy",))).old == "1 slots, window 2048 tokens"


# Up.


def test_good_cohorts_raise_our_own_slots_halfway_to_what_failed() -> None:
    course = after(begun(64, fitted=None), TooLarge(Load("m", 1_024, 64), 1_024, TEXT, 0.0))
    course = after(
        course, TooLarge(Load("m", 1_024, 32), 1_024, TEXT, 0.0), Fitted(Load("m", 1_024, 16), 1.0)
    )
    course = good(course, 100)
    assert course.limits.slots == 16 + (31 - 16) // 2


def test_an_attached_servers_chunk_is_raised_one_by_one() -> None:
    course = good(after(begun(owns_slots=False), died(), Fitted(Load("m", 1_024, 4), 1.0)), 100)
    assert course.limits.slots == 5


def test_a_load_must_be_paid_for_before_the_next_one() -> None:
    load_s = 60.0
    course = after(begun(load_s=load_s), died(), Fitted(Load("m", 1_024, 4), load_s))
    paid = 1 + int(LOAD_PAID_FACTOR * load_s / 10.0)  # after the first round
    assert good(course, paid - 1).limits.slots == 4
    assert good(course, paid).limits.slots == 5


def test_a_chunk_that_was_not_used_proves_nothing() -> None:
    course = after(begun(owns_slots=False), died(), Fitted(Load("m", 1_024, 4), 0.0), cohort(4))
    assert decide(course, cohort(JUDGED_ANSWERS_MIN, is_full=False))[1] is None
    assert decide(course, cohort(JUDGED_ANSWERS_MIN))[1] is not None


def test_cohorts_before_any_load_are_of_no_account() -> None:
    assert decide(begun(fitted=None), cohort(1_000))[1] is None


def test_the_operators_slots_are_never_exceeded() -> None:
    assert good(begun(), 1_000).limits.slots == 8


def test_more_slots_that_are_slower_are_taken_back_and_remembered() -> None:
    course = good(after(begun(owns_slots=False), died(), Fitted(Load("m", 1_024, 4), 0.0)), 9)
    course = after(course, Fitted(Load("m", 1_024, 5), 0.0))
    slower = good(course, 9, per_s=5.0)
    assert slower.limits.slots == 4
    assert good(after(slower, Fitted(Load("m", 1_024, 4), 0.0)), 100).limits.slots == 4
    as_fast = good(course, 9, per_s=9.6)
    assert as_fast.limits.slots == 6


def test_the_first_round_of_a_load_in_which_every_slot_reads_its_prompt_is_not_held_against_it() -> None:
    course = good(after(begun(owns_slots=False), died(), Fitted(Load("m", 1_024, 4), 0.0)), 9)
    course = after(course, Fitted(Load("m", 1_024, 5), 0.0), cohort(5, per_s=0.1))
    assert good(course, 9).limits.slots == 6


def test_the_edge_is_tried_again_rarely_and_by_one() -> None:
    course = after(begun(owns_slots=False), died(), Fitted(Load("m", 1_024, 4), 0.0))
    for _ in range(2):
        course = after(good(course, 9), Fitted(Load("m", 1_024, course.limits.slots + 1), 0.0))
    assert course.limits.slots == 6
    assert good(course, 1_000).limits.slots == 6  # many answers, and no time
    late = Cohort(10, 100, 10.0, True, 10_000.0)
    course = after(good(course, 1_000), Cohort(3_000, 30_000, 3_000.0, True, 150.0))
    change = said(course, late)
    assert (change.new, change.cause) == ("7", "what failed once is tried again")
    tried = after(course, late, Fitted(Load("m", 1_024, 7), 0.0))
    proven = good(tried, 9)
    assert (proven.edge.slots_max(1_024) >= 7, proven.edge.patience) == (True, 1)
    failed = after(tried, died(7))
    assert failed.edge.patience == 2


@pytest.mark.parametrize("event", [Fitted(LOAD, 1.0), Judged(())])
def test_what_changes_nothing_says_nothing(event: Happening) -> None:
    assert decide(begun(), event)[1] is None
