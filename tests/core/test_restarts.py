from batchd.core.restarts import PAUSE_BASE_S, PAUSE_CAP_S, SPANS, Restarts


def died(*moments: float, is_barren: bool = False) -> Restarts:
    restarts = Restarts()
    for moment in moments:
        restarts = restarts.after_death(moment, is_barren)
    return restarts


def test_the_first_three_in_ten_minutes_are_followed_by_a_restart_at_once() -> None:
    assert died(0.0, 1.0, 2.0).pause_s(2.0, 0.5) == 0.0
    assert died(0.0, 1.0, 2.0, 3.0).pause_s(3.0, 0.5) == 0.5 * PAUSE_BASE_S


def test_after_ten_minutes_they_count_no_more_in_the_short_span() -> None:
    assert died(0.0, 1.0, 2.0, 603.0).pause_s(603.0, 0.5) == 0.0


def test_twelve_in_six_hours_are_the_other_bound() -> None:
    spread = [n * 700.0 for n in range(13)]
    assert died(*spread[:12]).excess(spread[11]) == 0
    assert died(*spread).excess(spread[12]) == 1


def test_what_is_older_than_any_span_is_forgotten() -> None:
    longest_s = max(span_s for _, span_s in SPANS)
    assert died(0.0, longest_s).deaths == (longest_s,)


def test_deaths_without_answers_between_them_wait_twice_as_long_each_time() -> None:
    pauses = [died(*range(count), is_barren=True).pause_s(count, 1.0) for count in range(4, 8)]
    assert pauses == [PAUSE_BASE_S * 2**excess for excess in (1, 2, 3, 4)]
    assert died(*range(40), is_barren=True).pause_s(40, 1.0) == PAUSE_CAP_S


def test_a_cohort_of_answers_in_between_ends_the_doubling() -> None:
    assert died(*range(9), is_barren=True).after_death(9.0, is_barren=False).barren == 0


def test_deaths_that_a_request_was_guilty_of_are_struck_out() -> None:
    assert died(0.0, 1.0, 2.0, 3.0).without(2).deaths == (0.0, 1.0)
    assert died(0.0).without(5).deaths == ()
