from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fit import (
    ROOM_TOKENS_MIN,
    WINDOW_STEP_TOKENS,
    WINDOW_TOKENS_MIN,
    least_of,
    need_of,
    refit,
    window_for,
)

needs = st.lists(st.integers(1, 60_000), max_size=20)
caps = st.integers(WINDOW_TOKENS_MIN, 131_072)


@given(needs, caps)
def test_the_window_holds_every_need_that_is_allowed(found: list[int], cap: int) -> None:
    window = window_for(found, cap)
    assert all(need <= window for need in found if need <= cap)
    assert window % WINDOW_STEP_TOKENS == 0


@given(needs, caps)
def test_the_window_is_no_larger_than_needed(found: list[int], cap: int) -> None:
    longest = max((need for need in found if need <= cap), default=cap if found else 0)
    assert window_for(found, cap) < max(longest + WINDOW_STEP_TOKENS, WINDOW_TOKENS_MIN + 1)


def test_one_hopeless_request_does_not_widen_everybodys_window() -> None:
    assert window_for([2_000, 500_000], 32_768) == 2_048


def test_a_request_that_may_be_hopeless_gets_the_largest_window_where_it_is_alone() -> None:
    assert window_for([500_000], 32_768) == 32_768
    assert window_for([], 32_768) == WINDOW_TOKENS_MIN


prompts = st.integers(1, 60_000)
bounds = st.integers(0, 200_000)


@given(prompts, bounds, caps)
def test_a_bound_never_asks_for_a_window_that_is_not_allowed(prompt: int, bound: int, cap: int) -> None:
    need = need_of(prompt, bound, cap)
    assert need <= cap or prompt >= cap
    assert need == prompt + bound or (need == cap and prompt + bound > cap)
    assert prompt <= least_of(prompt, bound) <= prompt + min(bound, ROOM_TOKENS_MIN)


@given(prompts, bounds, st.integers(1, 512), caps)
def test_a_refit_gives_all_that_is_asked_or_allowed_and_never_the_same_again(
    prompt: int, bound: int, steps: int, cap: int
) -> None:
    window = steps * WINDOW_STEP_TOKENS
    wider = refit(prompt, bound, window, cap)
    if wider is None:
        is_hopeless = prompt > cap or (bound and prompt == cap)
        assert is_hopeless or window >= min(prompt + bound, cap)
        return
    assert wider > window
    assert min(prompt + bound, cap) <= wider < min(prompt + bound, cap) + WINDOW_STEP_TOKENS
    assert refit(prompt, bound, wider, cap) is None


def test_an_overflow_is_refitted_when_a_larger_window_is_allowed() -> None:
    assert refit(6_000, 20, 4_096, 32_768) == 6_144
    assert refit(30_000, 2_768, 4_096, 32_768) == 32_768


def test_a_bound_above_every_window_is_no_reason_against_the_largest() -> None:
    assert refit(2_200, 128_000, 4_096, 32_768) == 32_768
    assert refit(2_200, 128_000, 32_768, 32_768) is None


def test_a_prompt_beyond_every_window_is_not_refitted() -> None:
    assert refit(40_000, 16, 4_096, 32_768) is None
    assert refit(32_768, 16, 4_096, 32_768) is None  # no room for a single token
    assert refit(32_768, 0, 4_096, 32_768) == 32_768  # an embedding needs none


def test_a_need_that_the_window_already_holds_is_no_reason_to_reload() -> None:
    assert refit(3_900, 100, 4_096, 32_768) is None
