"""The ideal: what a batch would have read at best, from what the engine told."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.ideal import cached_tokens, ideal_tokens, measure_shared
from batchd.core.model import Answer, Source, Usage
from batchd.core.parameters import Endpoint
from batchd.core.record import Group, Plan
from batchd.core.request import Request
from batchd.core.result import result_line

URL = "/v1/chat/completions"


def plan(*groups: tuple[int, int]) -> Plan:
    """Groups of (count, estimated tokens of the beginning), dealt out line by line in reverse."""
    made, start = [], 0
    for count, prefix in groups:
        made.append(Group("m", URL, start, count, prefix, 4_096))
        start += count
    return Plan(start, tuple(made), array("I", reversed(range(start))))


def test_what_nearly_all_warm_answers_had_in_their_slot_is_the_beginning() -> None:
    """As measured: 56 warm answers of 60, which share some tokens more than the group does by chance."""
    warm = [2_092] * 9 + [2_093] * 33 + [2_094] * 8 + [2_095, 2_097, 2_097, 2_098, 2_100, 2_101]
    cached = [0, 0, 0, 3, *warm]
    made = plan((60, 2_938))
    shared = measure_shared(made, 0.72, enumerate(cached))
    assert shared == {0: 2_092}
    assert ideal_tokens(128_726, 60, made.groups, 0.72, shared) == 5_298


def test_an_answer_that_lost_a_part_of_it_does_not_count_against_all() -> None:
    assert measure_shared(plan((60, 1_000)), 1.0, enumerate([0, 600, *[990] * 58])) == {0: 990}


def test_cold_answers_say_nothing() -> None:
    assert measure_shared(plan((4, 1_000)), 1.0, enumerate([0, 0, 3, 0])) == {}
    assert measure_shared(plan((4, 0)), 1.0, enumerate([5, 5, 5, 5])) == {}


def test_a_group_that_was_not_measured_is_scaled_as_the_others_are() -> None:
    made = plan((10, 1_000), (5, 400))
    samples = [(index, 800) for index in range(5, 15)]  # the first group has the last lines
    shared = measure_shared(made, 1.0, samples)
    assert shared == {0: 800}
    assert ideal_tokens(20_000, 15, made.groups, 1.0, shared) == 20_000 - 9 * 800 - 4 * 320


def test_without_any_measure_the_whole_batch_is_the_scale() -> None:
    groups = plan((10, 80)).groups
    assert ideal_tokens(1_000, 10, groups, 0.5, {}) == 1_000 - 9 * 40


def test_a_batch_that_ended_early_is_not_credited_with_what_it_did_not_do() -> None:
    groups = plan((100, 80)).groups
    assert ideal_tokens(1_000, 11, groups, 1.0, {}) == 1_000 - 10 * 80
    assert ideal_tokens(0, 0, groups, 0.0, {}) == 0
    assert ideal_tokens(0, 0, (), 0.0, {}) == 0


@given(
    st.integers(0, 10**9),
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10**6)), max_size=5),
    st.floats(0, 10),
)
def test_it_lies_between_nothing_and_everything(
    prompt: int, completed: int, groups: list[tuple[int, int]], scale: float
) -> None:
    assert 0 <= ideal_tokens(prompt, completed, plan(*groups).groups, scale, {}) <= prompt


@pytest.mark.parametrize(("source", "said"), [(Source.ENGINE, 7), (Source.LOG, 7), (Source.UNKNOWN, None)])
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_only_what_the_engine_reported_is_read_from_a_result(
    endpoint: Endpoint, source: Source, said: int | None
) -> None:
    request = Request("a", endpoint, "m", (), ("x",), {}, 5)
    answer = Answer("yes", None, "stop", Usage(9, 1, 7, source, None, None))
    assert cached_tokens(result_line(request, answer, "1", 0.0)) == said


def test_error_lines_and_embeddings_have_no_cached_tokens() -> None:
    request = Request("a", Endpoint.EMBEDDINGS, "m", (), ("x",), {}, 0)
    vector = Answer("", None, "stop", Usage(9, 0, 7, Source.ENGINE, None, None), ((0.5,),))
    assert cached_tokens(result_line(request, vector, "1", 0.0)) is None
    assert cached_tokens(b'{"response": null, "error": {"code": "crash"}}') is None
    assert cached_tokens(b'{"response": {"status_code": 400, "body": {"error": {}}}}') is None
