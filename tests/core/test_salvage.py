"""A result line says of itself whose it is and what it cost."""

import pytest

from batchd.core.fault import Category, ModelFault, Rejected
from batchd.core.model import Answer, Source, Usage
from batchd.core.record import NO_SPENT, Spent
from batchd.core.request import Endpoint, Request
from batchd.core.result import model_fault_line, request_id, result_line
from batchd.core.salvage import read_back
from batchd.core.schema import Breach, Reason


def line(endpoint: Endpoint, source: Source, text: str = "Yes.", finish: str = "stop") -> bytes:
    vectors = ((0.5, 0.25),) if endpoint is Endpoint.EMBEDDINGS else ()
    answer = Answer(text, reasoning=None, finish_reason=finish, usage=Usage(100, 7, 90, source, 0.1, 0.2))
    if vectors:
        answer = Answer("", reasoning=None, finish_reason="stop", usage=answer.usage, embeddings=vectors)
    return result_line(Request("ä-1", endpoint, "m", (), (), {}, 16), answer, "batch_req_1", 5.0, "m")


@pytest.mark.parametrize(
    ("source", "unknown", "cached"),
    [(Source.ENGINE, 0, 90), (Source.LOG, 0, 90), (Source.UNKNOWN, 1, 0)],
)
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_an_answer_comes_back_with_its_tokens_and_their_source(
    endpoint: Endpoint, source: Source, unknown: int, cached: int
) -> None:
    expected = Spent(100, 7, cached, unknown_answers=unknown)
    assert read_back(line(endpoint, source)) == ("ä-1", expected)


def test_what_an_older_batchd_guessed_of_an_answer_is_unknown() -> None:
    guessed = line(Endpoint.CHAT, Source.ENGINE)
    guessed = guessed.replace(b'"cached_tokens":', b'"cached_tokens_estimate":')
    guessed = guessed.replace(b'"cached_tokens_source":"engine"', b'"cached_tokens_source":"estimate"')
    assert b'"estimate"' in guessed
    assert read_back(guessed) == ("ä-1", Spent(100, 7, 0, unknown_answers=1))


def test_an_embedding_comes_back_with_its_prompt() -> None:
    custom_id, spent = read_back(line(Endpoint.EMBEDDINGS, Source.ENGINE))
    assert (custom_id, spent.prompt_tokens, spent.completion_tokens, spent.empty_answers) == (
        "ä-1",
        100,
        0,
        0,
    )


def test_empty_and_cut_answers_are_counted() -> None:
    _, spent = read_back(line(Endpoint.CHAT, Source.ENGINE, " ", "length"))
    assert (spent.empty_answers, spent.cut_answers) == (1, 1)


def test_a_lowered_bound_is_counted_where_it_stands_beside_the_answer() -> None:
    """In the text of an answer it says nothing."""
    told = Answer('"lowered_bound": 7', None, "stop", Usage(100, 7, 90, Source.ENGINE, 0.1, 0.2))
    asked = Request("a", Endpoint.CHAT, "m", (), (), {}, 16)
    assert read_back(result_line(asked, told, "x", 5.0))[1].lowered_answers == 0
    assert read_back(result_line(asked, told, "x", 5.0, lowered_bound=0))[1].lowered_answers == 1


def test_an_error_line_costs_nothing() -> None:
    assert read_back(b'{"custom_id":"a","response":null,"error":{"code":"oom"}}') == ("a", NO_SPENT)


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"7", b'{"custom_id":7}', b'{"response":{"body":[]}}'])
def test_what_is_no_result_line_belongs_to_nobody(broken: bytes) -> None:
    assert read_back(broken) == (None, NO_SPENT)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.NOT_JSON, Spent(not_json_answers=1)),
        (Reason.SCHEMA, Spent(broken_answers=1)),
        (Reason.CUT, Spent(cut_answers=1)),
    ],
)
def test_a_rejected_answer_is_counted_as_what_it_was(reason: Reason, expected: Spent) -> None:
    rejected = Rejected(Breach(reason, "no"), "no", None, "stop", 7, 3)
    fault = ModelFault(Category.INVALID_ANSWER, "It is so.", is_temporary=False, rejected=rejected)
    outcome = model_fault_line("a", 1, fault, request_id(f"batch_{0:032x}", 0))
    assert read_back(outcome) == ("a", expected)
