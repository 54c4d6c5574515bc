from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fit import WINDOW_STEP_TOKENS, WINDOW_TOKENS_MIN, refit, window_for

needs = st.lists(st.integers(1, 60_000), max_size=20)
caps = st.integers(WINDOW_TOKENS_MIN, 131_072)


@given(needs, caps)
def test_the_window_holds_every_need_that_is_allowed(found: list[int], cap: int) -> None:
    window = window_for(found, cap)
    assert all(need <= window for need in found if need <= cap)
    assert window % WINDOW_STEP_TOKENS == 0


@given(needs, caps)
def test_the_window_is_no_larger_than_needed(found: list[int], cap: int) -> None:
    longest = max((need for need in found if need <= cap), default=0)
    assert window_for(found, cap) < max(longest + WINDOW_STEP_TOKENS, WINDOW_TOKENS_MIN + 1)


def test_one_hopeless_request_does_not_widen_everybodys_window() -> None:
    assert window_for([2_000, 500_000], 32_768) == 2_048


def test_an_overflow_is_refitted_when_a_larger_window_is_allowed() -> None:
    assert refit(6_020, 4_096, 32_768) == 6_144
    assert refit(32_768, 4_096, 32_768) == 32_768


def test_an_overflow_beyond_every_window_is_not_refitted() -> None:
    assert refit(40_000, 4_096, 32_768) is None


def test_a_need_that_the_window_already_holds_is_no_reason_to_reload() -> None:
    assert refit(4_000, 4_096, 32_768) is None
