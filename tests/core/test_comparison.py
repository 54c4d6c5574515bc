"""The arithmetic of a comparison: medians, ratios inside of rounds, and a projection that is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.comparison import Comparison, Ran, projected, spread


def ran(
    case: str,
    lines: int = 10,
    turn: int = 0,
    duration_s: float = 10.0,
    evaluated: int | None = 100,
    ideal: int | None = None,
) -> Ran:
    return Ran(case, lines, turn, duration_s, lines, 1_000, evaluated, ideal, "engine", None, None)


def test_a_ratio_is_taken_inside_of_its_round() -> None:
    # The machine was half as fast in the second round: no ratio shows it.
    runs = [
        ran("naive", turn=0, duration_s=10),
        ran("prefix", turn=0, duration_s=5),
        ran("prefix", turn=1, duration_s=10),
        ran("naive", turn=1, duration_s=20),
    ]
    naive, prefix = Comparison(runs).rows()
    assert (prefix.against_base, prefix.against_bound) == (spread([2.0, 2.0]), None)
    assert naive.against_base == spread([1.0])
    assert prefix.requests_per_s == spread([1.0, 2.0])
    assert (prefix.requests_per_s.median, prefix.requests_per_s.low, prefix.requests_per_s.high) == (
        1.5,
        1.0,
        2.0,
    )


def test_rows_come_by_lines_then_in_the_order_of_the_cases() -> None:
    runs = [ran("bare", 20), ran("bare"), ran("naive", 20), ran("keep-alive"), ran("prefix", ideal=7)]
    rows = Comparison(runs).rows()
    assert [(row.lines, row.case) for row in rows] == [
        (10, "keep-alive"),
        (10, "prefix"),
        (10, "bare"),
        (20, "naive"),
        (20, "bare"),
    ]
    assert rows[1].ideal_tokens == 7


def test_two_sizes_are_projected_along_their_line_and_one_in_proportion() -> None:
    assert projected([(10, 130.0), (20, 230.0)], 1_000) == pytest.approx(10_030)
    assert projected([(10, 130.0)], 1_000) == pytest.approx(13_000)
    assert projected([(10, 130.0), (20, 90.0)], 1_000) > 0, "nothing costs less for more lines"


@given(
    st.floats(0, 1e6),
    st.floats(1e-3, 1e3),
    st.lists(st.integers(1, 10_000), min_size=2, max_size=5, unique=True),
)
def test_what_lies_on_a_line_is_projected_onto_it(base: float, each: float, sizes: list[int]) -> None:
    points = [(size, base + each * size) for size in sizes]
    assert projected(points, 170_000) == pytest.approx(base + each * 170_000, rel=1e-3)


def test_a_projection_says_how_it_came() -> None:
    runs = [ran("prefix", 10, evaluated=110), ran("prefix", 20, evaluated=120), ran("bare", 10)]
    prefix, bare = Comparison(runs).projections(1_000)
    assert prefix.evaluated_tokens == pytest.approx(1_100)
    assert prefix.method == "straight line through 10 and 20 lines"
    assert bare.method == "in proportion to 10 lines"


def test_what_the_server_did_not_tell_of_each_run_is_in_no_row_and_no_projection() -> None:
    runs = [ran("prefix", 10), ran("prefix", 10, turn=1, evaluated=None), ran("prefix", 20), ran("bare", 10)]
    told = Comparison(runs)
    assert [row.evaluated_tokens is None for row in told.rows()] == [True, False, False]
    assert [projection.evaluated_tokens is None for projection in told.projections()] == [True, False]
    assert all(projection.duration_s > 0 for projection in told.projections())


def test_programs_get_every_run() -> None:
    told = Comparison([ran("prefix")]).as_dict()
    assert isinstance(told["runs"], list)
    assert told["runs"][0]["requests_per_s"] == 1.0
    assert set(told) == {"runs", "rows", "projection"}
