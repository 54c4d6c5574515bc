"""Calibration: the line, the search, the choice, and a profile that travels through its file."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.calibration import (
    STEP_TOKENS,
    WINDOW_TOKENS_MIN,
    Identity,
    Line,
    Profile,
    Proof,
    Row,
    Search,
    Trial,
    advised,
    best_slots,
    file_stem,
    fit_line,
    from_json,
    is_flat,
    key_text,
    slots_to_try,
)
from batchd.core.model import Load

MB = 10**6
THIS = Identity("smollm2:135m", "sha256:1", "ollama", "0.33", "own", (("a card", "580", 16_384),))
ROWS = (
    Row(1, 32_768, 32_768, 2.0, 60.0),
    Row(2, 16_384, 14_592, 3.5, 105.0),
    Row(4, 8_192, 7_168, 6.0, 180.0),
    Row(8, 4_096, 3_584, 6.2, 186.0),
)
PROFILE = Profile(
    THIS,
    1.8e9,
    ROWS,
    (Trial(1, 512, True, 100 * MB), Trial(8, 8_192, False, None, "cudaMalloc failed: out of memory")),
    Line(90.0 * MB, 20_000.0, 1.0),
    "driver",
    4,
    7_168,
    Proof(60.0, 300, 900 * MB),
    ("a note",),
)


def trials(*sizes: tuple[int, int]) -> list[Trial]:
    return [Trial(1, tokens, True, size) for tokens, size in sizes]


def test_a_straight_line_is_found_with_its_residual() -> None:
    line = fit_line(trials((0, 100), (1_000, 2_100), (2_000, 4_100)))
    assert line is not None
    assert line.base_bytes == pytest.approx(100)
    assert line.token_bytes == pytest.approx(2.0)
    assert line.residual_bytes == pytest.approx(0.0, abs=1e-6)
    assert line.at(10_000) == pytest.approx(20_100)
    bent = fit_line(trials((0, 1_000), (1_000, 2_000), (2_000, 6_000)))
    assert bent is not None
    assert bent.residual_bytes == pytest.approx(1_000)


@pytest.mark.parametrize(
    "measured",
    [[], trials((512, 100)), trials((512, 100), (512, 120)), [Trial(1, 512, False, 5), Trial(2, 9, True)]],
)
def test_no_line_goes_through_less_than_two_loads(measured: list[Trial]) -> None:
    assert fit_line(measured) is None


def searched(slots: int, cap: int, likely: int, true_tokens: int) -> tuple[Search, int]:
    """The finished search on a machine that holds so many tokens in a window, and its loads."""
    search, loads = Search.begin(slots, cap, likely), 0
    while (window := search.next_window()) is not None:
        assert WINDOW_TOKENS_MIN <= window <= search.cap
        assert window % STEP_TOKENS == 0
        search, loads = search.after(window, window <= true_tokens), loads + 1
        assert loads < 20
    return search, loads


@given(st.integers(512, 300_000), st.integers(0, 300_000), st.integers(0, 300_000))
def test_the_search_ends_near_the_truth_and_never_above_it(cap: int, likely: int, true_tokens: int) -> None:
    search, loads = searched(1, cap, likely, true_tokens)
    top = max(cap // STEP_TOKENS * STEP_TOKENS, WINDOW_TOKENS_MIN)
    if true_tokens < WINDOW_TOKENS_MIN:
        assert (search.fits, search.safe_tokens) == (0, 0)
        return
    assert search.fits <= min(true_tokens, top)
    assert (
        search.fits == top or search.fits + max(STEP_TOKENS, search.fits * 0.08) + STEP_TOKENS > true_tokens
    )
    assert WINDOW_TOKENS_MIN <= search.safe_tokens <= search.fits
    assert loads <= 16


def test_a_machine_with_room_for_all_needs_one_load_and_no_margin() -> None:
    search, loads = searched(1, 32_768, 32_768, 10**9)
    assert (search.fits, search.safe_tokens, loads) == (32_768, 32_768, 1)


def test_where_memory_is_the_limit_the_safe_window_stays_below_it() -> None:
    search, _ = searched(1, 32_768, 32_768, 20_000)
    assert 18_000 < search.fits <= 20_000
    assert search.safe_tokens < search.fits * 0.91


@pytest.mark.parametrize(
    ("window", "slots_max", "slots"),
    [
        (512, None, 4),
        (512, 2, 2),
        (512, 1, 1),
        (7_168, None, 4),
        (8_000, None, 2),
        (20_000, None, 1),
        (40_000, None, 0),
    ],
)
def test_the_fewest_slots_that_are_as_fast_as_any_are_best(
    window: int, slots_max: int | None, slots: int
) -> None:
    assert best_slots(ROWS, window, slots_max) == slots


def test_a_number_of_slots_that_failed_is_never_chosen() -> None:
    assert best_slots([replace(ROWS[2], safe_tokens=0), ROWS[1]]) == 2
    assert best_slots([]) == 0


@pytest.mark.parametrize(
    ("window", "wished", "slots"),
    [(2_048, 16, 4), (2_048, 2, 2), (10_000, 16, 2), (30_000, 16, 1), (60_000, 16, 1)],
)
def test_a_load_gets_the_slots_that_its_window_leaves_room_for(window: int, wished: int, slots: int) -> None:
    assert advised(PROFILE, Load("m", window, wished)) == Load("m", window, slots)


def test_a_profile_travels_through_its_file() -> None:
    assert from_json(PROFILE.to_json()) == PROFILE
    bare = replace(PROFILE, line=None, proof=None, notes=())
    assert from_json(bare.to_json()) == bare


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'"x"',
        PROFILE.to_json().replace(b'"version":1,', b'"version":9,', 1),
    ],
)
def test_what_is_no_profile_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(raw)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (THIS, None),
        (replace(THIS, digest="sha256:2"), "the model was changed (another digest)"),
        (replace(THIS, version="0.34"), "the engine was ollama 0.33 (own) and is ollama 0.34 (own)"),
        (replace(THIS, mode="attach"), "the engine was ollama 0.33 (own) and is ollama 0.33 (attach)"),
        (
            replace(THIS, gpus=(("a card", "590", 16_384),)),
            "the GPU was a card with driver 580 and is a card with driver 590",
        ),
        (replace(THIS, gpus=()), "the GPU was a card with driver 580 and is none"),
        (replace(THIS, memory_gb=7), "the machine had 0 GB and has 7 GB"),
    ],
)
def test_a_stale_profile_says_what_was_changed(now: Identity, words: str | None) -> None:
    assert THIS.changes(now) == ([] if words is None else [words])


def test_the_key_of_a_profile_is_its_identity_and_its_file_is_readable() -> None:
    assert key_text(replace(THIS, model="other")) == key_text(THIS)
    assert key_text(replace(THIS, version="0.34")) != key_text(THIS)
    assert file_stem(THIS, "abc") == "smollm2-135m.abc"
    assert file_stem(replace(THIS, model="../../x"), "abc") == "x.abc"
    assert file_stem(replace(THIS, model="模"), "abc") == "model.abc"


@pytest.mark.parametrize(
    ("most", "numbers"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (16, (1, 2, 4, 8, 16))]
)
def test_the_numbers_of_slots_double(most: int, numbers: tuple[int, ...]) -> None:
    assert slots_to_try(most) == numbers


@pytest.mark.parametrize(
    ("rates", "is_over"),
    [
        ([], False),
        ([1, 1], False),
        ([2, 2, 2], True),
        ([1, 2, 1], False),
        ([1, 2, 2, 2.04], True),
        ([4, 1, 5], False),
    ],
)
def test_more_slots_are_not_tried_when_they_bring_nothing(rates: list[float], is_over: bool) -> None:
    assert is_flat(rates) is is_over
