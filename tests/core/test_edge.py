from hypothesis import given
from hypothesis import strategies as st

from batchd.core.edge import NO_EDGE, PROBE_ANSWERS, PROBE_WAIT_S, PROBE_WAIT_S_MAX, UNBOUNDED, edge_of

counts = st.integers(1, 256)
windows = st.integers(1, 64).map(lambda steps: 256 * steps)


def test_nothing_is_known_at_first() -> None:
    assert NO_EDGE.slots_max(4_096) == UNBOUNDED


def test_less_than_what_did_not_fit_may_be_tried() -> None:
    edge = NO_EDGE.below_cells(8 * 1_024, 0.0)
    assert (edge.slots_max(1_024), edge.slots_max(2_048), edge.slots_max(16_384)) == (7, 3, 1)


def test_four_fifths_of_what_the_server_died_with_are_kept_to() -> None:
    assert NO_EDGE.below_slots(10, 0.0).slots_max(1_024) == 8


def test_of_several_failures_the_smallest_counts() -> None:
    edge = NO_EDGE.below_pace(9, 0.0).below_pace(20, 0.0).below_slots(20, 0.0).below_cells(20 * 1_024, 0.0)
    assert edge.slots_max(1_024) == 8


@given(counts, counts, counts, counts, windows)
def test_what_turns_out_good_may_be_kept(good: int, cells: int, died: int, pace: int, window: int) -> None:
    edge = NO_EDGE.below_cells(cells * window, 0.0).below_slots(died, 0.0).below_pace(pace, 0.0)
    beyond = edge.beyond(good, window)
    assert beyond.slots_max(window) >= good
    assert beyond.slots_max(window) >= edge.slots_max(window)


def test_an_edge_of_one_kind_says_nothing_of_the_others() -> None:
    assert NO_EDGE.below_slots(2, 0.0).beyond(2, 1_024).cells is None
    assert NO_EDGE.below_cells(1_024, 0.0).beyond(2, 1_024).slots is None


def test_an_edge_is_tried_again_after_many_answers_and_a_long_time() -> None:
    edge = NO_EDGE.below_slots(4, 100.0)
    assert not edge.answered(PROBE_ANSWERS).may_probe(100.0 + PROBE_WAIT_S - 1)
    assert not edge.answered(PROBE_ANSWERS - 1).may_probe(100.0 + PROBE_WAIT_S)
    assert edge.answered(PROBE_ANSWERS).may_probe(100.0 + PROBE_WAIT_S)


def test_each_try_that_fails_doubles_the_wait_up_to_a_day() -> None:
    edge = NO_EDGE.below_slots(4, 0.0)
    for _ in range(3):
        edge = edge.probed(0.0).below_slots(5, 0.0)
    assert edge.patience == 8
    assert not edge.answered(PROBE_ANSWERS * 8 - 1).may_probe(1e9)
    for _ in range(10):
        edge = edge.probed(0.0).below_slots(5, 0.0)
    assert edge.answered(10**9).may_probe(PROBE_WAIT_S_MAX)


def test_a_failure_that_was_no_try_costs_no_patience() -> None:
    assert NO_EDGE.below_slots(4, 0.0).below_slots(3, 0.0).patience == 1


def test_what_was_met_outlives_the_daemon_and_its_clock_does_not() -> None:
    edge = NO_EDGE.below_slots(8, 50.0).below_cells(9_000, 60.0)
    assert edge.kept() == {"slots": 8, "cells": 9_000}
    again = edge_of(edge.kept(), 5.0)
    assert (again.slots_max(1_024), again.at, again.answers) == (edge.slots_max(1_024), 5.0, 0)
    assert edge_of({}, 5.0).slots_max(1_024) == NO_EDGE.slots_max(1_024)
