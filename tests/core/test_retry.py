from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import Category, ModelFault
from batchd.core.retry import (
    BACKOFF_CAP_S,
    BUSY_CAP_S,
    BUSY_PAUSE_S,
    CRASHES_MAX,
    RETRY_AFTER_S_MAX,
    SPARED_TRIES,
    Decision,
    Next,
    Trial,
    backoff_s,
    decide,
    is_proof_due,
)


def fault(category: Category, is_temporary: bool = True, **more: object) -> ModelFault:
    return ModelFault(category, "text", is_temporary, **more)  # type: ignore[arg-type]  # keywords vary


def trial(attempts: int = 0, crashes: int = 0, is_alone: bool = False) -> Trial:
    return Trial(attempts, crashes, 64, 4_096, 8_192, is_alone)


def ends_after(category: Category, is_server_lost: bool) -> int:
    """How many times a request is tried that meets the same fault each time."""
    attempts = crashes = 0
    for tries in range(1, 100):
        decision = decide(
            fault(category, is_server_lost=is_server_lost),
            trial(attempts, crashes, is_alone=tries > 1),
            attempts_max=3,
            chance=0.5,
        )
        if decision.next is Next.GIVE_UP:
            return tries
        attempts, crashes = decision.attempts, decision.crashes
    return 100


def test_a_temporary_fault_is_tried_again_until_the_attempts_are_used_up() -> None:
    assert ends_after(Category.SERVER, is_server_lost=False) == 3
    assert ends_after(Category.TIMEOUT, is_server_lost=True) == 3


def test_a_server_out_of_reach_charges_nobody() -> None:
    assert decide(fault(Category.NETWORK, is_server_lost=True), trial(2, 2), 3, 0.5) == Decision(
        Next.AGAIN, 2, 2
    )
    assert ends_after(Category.NETWORK, is_server_lost=True) == 100


def test_a_server_that_a_person_must_mend_charges_nobody() -> None:
    broken = fault(Category.MODEL, is_server_lost=True, needs_operator=True)
    assert decide(broken, trial(2, 2), 3, 0.5) == Decision(Next.AGAIN, 2, 2)


def test_an_overloaded_server_charges_nobody_and_is_left_alone_for_a_while() -> None:
    decision = decide(fault(Category.NETWORK), trial(2, 0), 3, 0.5)
    assert decision == Decision(Next.AGAIN, 2, 0, wait_s=BUSY_PAUSE_S)


def test_a_permanent_fault_ends_at_once() -> None:
    assert decide(fault(Category.VALIDATION, False), trial(), 3, 0.5).next is Next.GIVE_UP


def test_a_request_held_at_a_death_is_a_suspect_and_dying_alone_twice_ends_it() -> None:
    death = fault(Category.CRASH, is_server_lost=True)
    first = decide(death, trial(), 3, 0.5)
    again = decide(death, trial(0, first.crashes), 3, 0.5)
    assert (first.crashes, again.crashes) == (1, 1)  # however often in company
    second = decide(death, trial(0, again.crashes, is_alone=True), 3, 0.5)
    third = decide(death, trial(0, second.crashes, is_alone=True), 3, 0.5)
    assert [step.next for step in (first, second, third)] == [Next.SUSPECT, Next.SUSPECT, Next.GIVE_UP]
    assert third.crashes == CRASHES_MAX
    assert third.attempts == 0


def test_an_overflow_refits_while_a_larger_window_is_allowed() -> None:
    overflow = fault(Category.CONTEXT_LENGTH, False, prompt_tokens=6_000, window_tokens=4_096)
    assert decide(overflow, trial(), 3, 0.5) == Decision(Next.REFIT, 0, 0, window_tokens=6_144)


def test_an_overflow_of_every_window_ends_at_once() -> None:
    overflow = fault(Category.CONTEXT_LENGTH, False, prompt_tokens=8_192, window_tokens=4_096)
    assert decide(overflow, trial(), 3, 0.5).next is Next.GIVE_UP


def test_a_bound_that_no_window_holds_gets_the_largest_and_no_second_try() -> None:
    cut = fault(Category.CONTEXT_LENGTH, False, prompt_tokens=8_150, window_tokens=4_096)
    assert decide(cut, trial(), 3, 0.5) == Decision(Next.REFIT, 0, 0, window_tokens=8_192)
    again = replace(trial(), window_tokens=8_192)
    assert decide(cut, again, 3, 0.5).next is Next.GIVE_UP


def test_an_overflow_without_numbers_gets_the_largest_window_and_no_second_try() -> None:
    silent = fault(Category.CONTEXT_LENGTH, False)
    assert decide(silent, trial(), 3, 0.5) == Decision(Next.REFIT, 0, 0, window_tokens=8_192)
    assert decide(silent, replace(trial(), window_tokens=8_192), 3, 0.5).next is Next.GIVE_UP


@given(st.integers(0, 1_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_never_longer_than_the_cap(tries: int, chance: float) -> None:
    assert 0 <= backoff_s(tries, chance) <= BACKOFF_CAP_S


def test_backoff_doubles() -> None:
    assert [backoff_s(tries, 1.0) for tries in range(4)] == [0.5, 1.0, 2.0, 4.0]


def busy_trial(spared: int, attempts: int = 0) -> Trial:
    return Trial(attempts, 0, 64, 4_096, 8_192, spared=spared)


def test_a_busy_server_is_left_alone_for_longer_each_time_up_to_a_minute() -> None:
    waits = [decide(fault(Category.NETWORK), busy_trial(spared), 3, 0.5).wait_s for spared in range(40)]
    assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
    assert waits[-1] == BUSY_CAP_S


def test_or_for_as_long_as_it_asks_but_not_for_ever() -> None:
    def wait_s(retry_after_s: float) -> float:
        return decide(fault(Category.NETWORK, retry_after_s=retry_after_s), busy_trial(9), 3, 0.0).wait_s

    assert (wait_s(0.0), wait_s(7.0), wait_s(1e12)) == (0.0, 7.0, RETRY_AFTER_S_MAX)


def test_what_is_refused_to_one_request_alone_is_charged_to_it() -> None:
    own = fault(Category.NETWORK, is_own=True)
    first = decide(own, busy_trial(0), 3, 0.5)
    assert (first.next, first.attempts, first.wait_s) == (Next.AGAIN, 1, BUSY_PAUSE_S)
    assert decide(own, busy_trial(0, attempts=2), 3, 0.5).next is Next.GIVE_UP


def test_a_gateway_is_asked_at_once_and_a_crowded_server_seldom_what_it_does_for_others() -> None:
    gateway, crowded = fault(Category.NETWORK), fault(Category.NETWORK, is_crowded=True)
    barred = fault(Category.MODEL, is_server_lost=True, needs_operator=True)
    assert [is_proof_due(gateway, spared) for spared in (0, 1, 7)] == [True] * 3
    for patient in (crowded, barred):
        due = [spared for spared in range(2 * SPARED_TRIES) if is_proof_due(patient, spared)]
        assert due == [SPARED_TRIES - 1, 2 * SPARED_TRIES - 1]
    away = fault(Category.NETWORK, is_server_lost=True)
    assert not any(is_proof_due(other, 7) for other in (away, fault(Category.SERVER), fault(Category.CRASH)))


@pytest.mark.parametrize("is_server_lost", [True, False])
def test_what_hung_is_late_and_nothing_else_is(is_server_lost: bool) -> None:
    trial = Trial(0, 0, 8, 1_024, 1_024)
    for category in (Category.TIMEOUT, Category.CRASH, Category.SERVER):
        fault = ModelFault(category, "x", is_temporary=True, is_server_lost=is_server_lost)
        assert decide(fault, trial, 3, 0.5).is_late is (category is Category.TIMEOUT)
