"""Runaways: what repeats itself is found, what only looks like it is not, and nothing is cut in silence."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Message, Request
from batchd.core.runaway import (
    EXTRA,
    LEARN_FROM,
    LEARNED_TOKENS_MIN,
    LENGTHENED,
    REPEATED_CHARS_MIN,
    REPEATS_MIN,
    RESEEDED,
    UNIT_CHARS_MAX,
    Again,
    Bounds,
    Extra,
    extra_of,
    find_repetition,
    first_try,
    judge,
)

DEFAULT = 1_024
PROSE = "The package holds the shared libraries that programs need at run time, and nothing else. "


def request(bound: int = DEFAULT, **parameters: object) -> Request:
    return Request("r", Endpoint.CHAT, "m", (Message("user", "hi"),), (), parameters, bound)


def answer(text: str, finish: str = "length", tokens: int = DEFAULT) -> Answer:
    return Answer(text, None, finish, Usage(10, tokens, 5, Source.ENGINE, 0.1, 1.0))


LOOP = "I am sure that " + "it is. " * 200


@pytest.mark.parametrize("unit", [" ", "\n", "ha", "0, ", "the same sentence over and over again. ", "äö€"])
def test_what_repeats_itself_at_the_end_is_found_with_its_beginning(unit: str) -> None:
    count = -(-REPEATED_CHARS_MIN // len(unit)) + REPEATS_MIN
    found = find_repetition("Well: " + unit * count)
    assert found is not None
    assert len("Well:") <= found.start <= len("Well: ") + len(unit)
    assert found.count * len(found.unit) >= REPEATED_CHARS_MIN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PROSE * 3,  # a refrain
        "ha " * 100,  # 300 characters
        "".join(f"{number}, " for number in range(1_000)),  # counts, and says something new each time
        "a b c " * 200 + "and then it goes on as it should.",
        "| name | size |\n" * 7,
        "".join(f"| package-{number} | {number * 37} kB |\n" for number in range(200)),
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert find_repetition(text) is None


@given(
    st.text(max_size=60),
    st.text(min_size=1, max_size=UNIT_CHARS_MAX),
    st.integers(REPEATS_MIN, 40),
    st.integers(0, 200),
)
def test_a_repetition_is_found_wherever_the_bound_cut_it(head: str, unit: str, count: int, cut: int) -> None:
    text = head + unit * count + unit[: cut % len(unit)]
    found = find_repetition(text)
    if len(unit) * (count - 1) < REPEATED_CHARS_MIN + len(unit) or count < REPEATS_MIN + 2:
        return
    assert found is not None
    assert text[found.start :] == found.unit * found.count
    assert len(found.unit) <= len(unit)


@given(st.text(max_size=300), st.integers(1, 2_000))
def test_whatever_is_said_to_repeat_stands_there(text: str, times: int) -> None:
    found = find_repetition(text + text[-7:] * times)
    if found is not None:
        whole = text + text[-7:] * times
        assert whole == whole[: found.start] + found.unit * found.count
        assert found.count >= REPEATS_MIN


def test_an_answer_that_ended_by_itself_is_an_answer_whatever_it_says() -> None:
    heard = answer(LOOP, "stop")
    assert judge(request(), request(), heard, was_reseeded=False) is heard


def test_an_answer_that_was_cut_and_says_something_is_the_answer() -> None:
    heard = answer(PROSE * 3)
    assert judge(request(), request(), heard, was_reseeded=False) is heard


def test_a_loop_is_asked_again_once_with_another_seed() -> None:
    step = judge(request(), request(), answer(LOOP), was_reseeded=False)
    assert isinstance(step, Again)
    assert step.why == RESEEDED
    assert step.request.parameters["seed"] is not None
    assert step.request.completion_tokens_max == DEFAULT
    fault = judge(request(), step.request, answer(LOOP), was_reseeded=True)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.RUNAWAY, False)
    assert "twice, with different seeds" in fault.message
    assert "'I am sure that" in fault.message
    assert "1024 tokens" in fault.message


@pytest.mark.parametrize("parameters", [{"seed": 7}, {"temperature": 0.0}, {"seed": 0, "temperature": 0.7}])
def test_what_the_submitter_fixed_is_not_asked_otherwise(parameters: dict[str, object]) -> None:
    asked = replace(request(), parameters=parameters)
    fault = judge(asked, asked, answer(LOOP), was_reseeded=False)
    assert isinstance(fault, ModelFault)
    assert "asked once" in fault.message


def test_a_loop_of_thoughts_is_one_too() -> None:
    heard = Answer("", LOOP, "length", answer("").usage)
    assert isinstance(judge(request(), request(), heard, was_reseeded=False), Again)


def test_what_the_engine_gave_up_itself_is_treated_alike() -> None:
    given_up = ModelFault(Category.RUNAWAY, "prediction aborted, token repeat limit reached", True)
    assert isinstance(judge(request(), request(), given_up, was_reseeded=False), Again)
    fault = judge(request(), request(), given_up, was_reseeded=True)
    assert isinstance(fault, ModelFault)
    assert not fault.is_temporary


def test_other_faults_are_none_of_its_business() -> None:
    fault = ModelFault(Category.TIMEOUT, "late", is_temporary=True)
    assert judge(request(), request(), fault, was_reseeded=False) is fault


def test_a_long_beginning_is_cut_in_the_error_line_and_that_is_said() -> None:
    fault = judge(request(seed=1), request(seed=1), answer(PROSE * 100 + "\n" * 500), was_reseeded=False)
    assert isinstance(fault, ModelFault)
    assert "(and " in fault.message
    assert "500 times '\\n'" in fault.message
    assert len(fault.message) < 5_000


def taught(longest: int, count: int = LEARN_FROM) -> Bounds:
    bounds = Bounds()
    for _ in range(count):
        bounds.ended("m", longest)
    return bounds


def test_a_bound_is_learned_only_from_enough_answers_of_the_same_model() -> None:
    assert taught(100, LEARN_FROM - 1).learned("m") is None
    assert taught(100).learned("other") is None
    assert taught(10).learned("m") == LEARNED_TOKENS_MIN
    assert taught(200).learned("m") == 400


@given(st.lists(st.integers(0, 5_000), min_size=LEARN_FROM, max_size=200))
def test_no_answer_so_far_would_have_been_cut_by_what_was_learned_from_it(tokens: list[int]) -> None:
    bounds = Bounds()
    for count in tokens:
        bounds.ended("m", count)
    learned = bounds.learned("m")
    assert learned is not None
    assert learned >= max(LEARNED_TOKENS_MIN, max(tokens))


@pytest.mark.parametrize(
    ("asked", "bounds"),
    [
        (request(), Bounds()),
        (request(bound=500), taught(10)),  # the submitter's own
        (request(), taught(600)),  # more than the default
        (Request("e", Endpoint.EMBEDDINGS, "m", (), ("hi",), {}, 0), taught(10)),
    ],
)
def test_where_nothing_is_learned_or_the_submitter_gave_a_bound_it_is_sent_as_it_is(
    asked: Request, bounds: Bounds
) -> None:
    assert first_try(asked, bounds, DEFAULT) is asked


def test_a_learned_bound_goes_with_a_seed_and_what_needs_more_gets_the_same_seed_and_all_of_it() -> None:
    asked = request()
    sent = first_try(asked, taught(10), DEFAULT)
    assert sent.completion_tokens_max == LEARNED_TOKENS_MIN
    step = judge(asked, sent, answer(PROSE * 3, tokens=LEARNED_TOKENS_MIN), was_reseeded=False)
    assert isinstance(step, Again)
    assert step.why == LENGTHENED
    assert step.request.completion_tokens_max == DEFAULT
    assert step.request.parameters == sent.parameters
    whole = answer(PROSE * 20, "stop", 700)
    assert judge(asked, step.request, whole, was_reseeded=False) is whole


def test_a_seed_of_the_submitter_is_kept_where_a_bound_was_learned() -> None:
    assert first_try(request(seed=7), taught(10), DEFAULT).parameters == {"seed": 7}


def test_a_loop_within_a_learned_bound_ends_within_it() -> None:
    asked = request()
    sent = first_try(asked, taught(10), DEFAULT)
    step = judge(asked, sent, answer(LOOP, tokens=LEARNED_TOKENS_MIN), was_reseeded=False)
    assert isinstance(step, Again)
    assert (step.why, step.request.completion_tokens_max) == (RESEEDED, LEARNED_TOKENS_MIN)
    assert step.request.parameters["seed"] != sent.parameters["seed"]


@given(st.text(max_size=30), st.booleans(), st.integers(0, 300))
def test_no_request_is_sent_more_than_four_times(text: str, is_loop: bool, longest: int) -> None:
    asked, bounds = request(), taught(longest)
    sent, was_reseeded, sends = first_try(asked, bounds, DEFAULT), False, 1
    while True:
        heard = answer(text + (LOOP if is_loop else ""), tokens=sent.completion_tokens_max)
        step = judge(asked, sent, heard, was_reseeded)
        if not isinstance(step, Again):
            break
        sent, was_reseeded, sends = step.request, was_reseeded or step.why == RESEEDED, sends + 1
    assert sends <= 4
    if isinstance(step, Answer):
        assert sent.completion_tokens_max == DEFAULT, "a cut answer had all that it may have"


def test_what_was_not_taken_is_counted_and_kept() -> None:
    extra = Extra().plus(RESEEDED, Usage(10, 20, 5, Source.ENGINE, None, None)).plus(LENGTHENED, None)
    assert extra == Extra(1, 1, 0, 10, 5, 20)
    assert extra_of({EXTRA: extra.to_meta()}) == extra
    assert extra_of({}) == Extra()


def test_of_what_was_not_taken_too_nothing_is_guessed() -> None:
    extra = Extra().plus(RESEEDED, Usage(10, 20, None, Source.UNKNOWN, 0.1, None))
    assert (extra.prompt_tokens, extra.cached_tokens, extra.unknown_tokens) == (10, 0, 10)
    older = dumps({"reseeded": 1, "prompt_tokens": 10}).decode()
    assert extra_of({EXTRA: older}).unknown_tokens == 0


def test_the_results_tell_what_was_not_taken() -> None:
    assert Extra().notes() == []
    extra = Extra(reseeded=2, lengthened=3, prompt_tokens=50, cached_tokens=20).one_runaway()
    assert extra.evaluated_tokens == 30
    assert [note.split()[0] for note in extra.notes()] == ["1", "2", "3"]


def test_bounds_show_what_they_know() -> None:
    assert repr(taught(7)) == f"Bounds({{'m': ({LEARN_FROM}, 7)}})"
