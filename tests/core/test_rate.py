"""A rate is of the last minute or so, and of one batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.rate import Rate


@given(st.floats(min_value=0.5, max_value=50), st.lists(st.floats(min_value=0.01, max_value=5), min_size=2))
def test_a_steady_count_has_its_own_rate(per_s: float, steps: list[float]) -> None:
    rate = Rate(window_s=20)
    now = 0.0
    for step in steps:
        now += step
        rate.add(now, per_s * now)
    assert rate.per_s() == pytest.approx(per_s)
    assert rate.eta_s(100) == pytest.approx(100 / per_s)


def test_a_rate_forgets_what_is_older_than_its_window_and_keeps_few_points() -> None:
    rate = Rate(window_s=60)
    for tick in range(10_000):
        rate.add(tick / 10, tick if tick < 5_000 else 5_000 + (tick - 5_000) * 2)
    assert rate.per_s() == pytest.approx(20, rel=0.05)
    assert int(repr(rate).split()[-2]) <= 80


def test_a_rate_is_unknown_until_it_is_measured_and_begins_anew_with_another_batch() -> None:
    rate = Rate()
    assert (rate.per_s(), rate.eta_s(1), repr(rate)) == (None, None, "<Rate unknown/s over 0 points>")
    rate.add(1.0, 100)
    rate.add(1.0, 100)
    assert rate.per_s() is None
    rate.add(11.0, 200)
    assert rate.per_s() == 10
    rate.add(12.0, 0)
    assert rate.per_s() is None


def test_a_count_that_stands_still_has_no_eta() -> None:
    rate = Rate()
    rate.add(1.0, 5)
    rate.add(2.0, 5)
    assert (rate.per_s(), rate.eta_s(10)) == (0, None)
