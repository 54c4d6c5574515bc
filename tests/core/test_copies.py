"""Copies: an outcome of their own, and nothing spent twice."""

import pytest

from batchd.core.copies import copied_line, outcome_of_copy
from batchd.core.fault import Category, LineFault, ModelFault, Rejected
from batchd.core.json import loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.record import Outcome, Spent
from batchd.core.request import Endpoint, Message, Request
from batchd.core.result import line_fault_line, model_fault_line, request_id, result_line
from batchd.core.schema import Breach, Reason

BATCH = f"batch_{'a' * 32}"
ANSWER = Answer("yes\u2028no", None, "stop", Usage(100, 5, 90, Source.ENGINE, 0.1, 0.2))


def asked(custom_id: str, endpoint: Endpoint = Endpoint.CHAT) -> Request:
    is_chat = endpoint is Endpoint.CHAT
    return Request(custom_id, endpoint, "m", (Message("user", "hi"),) if is_chat else (), ("hi",), {}, 8)


def answered(custom_id: str, index: int, endpoint: Endpoint = Endpoint.CHAT) -> bytes:
    return result_line(asked(custom_id, endpoint), ANSWER, request_id(BATCH, index), 7.0)


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_a_copy_of_an_answer_is_the_answer_under_its_own_names(endpoint: Endpoint) -> None:
    line = copied_line(answered("a", 3, endpoint), 0x1234, "ü\u2028", 9)
    expected = loads(answered("ü\u2028", 0x1234, endpoint))
    found = loads(line)
    assert isinstance(found, dict)
    assert isinstance(expected, dict)
    usage = found["response"]["body"].pop("usage")
    del expected["response"]["body"]["usage"]
    assert found == expected
    assert {usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")} == {0}
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "cached_tokens_source": "deduplicated"}
    assert "\u2028".encode() not in line


def test_a_copy_of_an_error_has_its_own_line_number() -> None:
    fault = ModelFault(Category.CRASH, "The model server died.", is_temporary=False)
    original = model_fault_line("a", 4, fault, request_id(BATCH, 3))
    assert copied_line(original, 7, "b", 8) == model_fault_line("b", 8, fault, request_id(BATCH, 7))


def test_a_copy_of_a_rejected_answer_has_the_answer_under_its_own_name() -> None:
    breach = Breach(Reason.SCHEMA, "0 is less than 1", "$.a", "minimum")
    rejected = Rejected(breach, "0\n1", None, "stop", 7, 3)
    fault = ModelFault(Category.INVALID_ANSWER, "It breaks.", is_temporary=False, rejected=rejected)
    original = model_fault_line("a", 4, fault, request_id(BATCH, 3))
    assert copied_line(original, 7, "b", 8) == model_fault_line("b", 8, fault, request_id(BATCH, 7))
    copy = outcome_of_copy(
        Outcome(3, original, True, fault.category, spent=Spent(broken_answers=1)), 7, "b", 8
    )
    assert copy.spent == Spent(broken_answers=1)


def test_a_copy_of_a_refusal_is_one() -> None:
    fault = LineFault(4, "invalid_value", "no", "body.seed", "a")
    expected = LineFault(8, "invalid_value", "no", "body.seed", "b")
    original = line_fault_line(fault, request_id(BATCH, 3))
    assert copied_line(original, 7, "b", 8) == line_fault_line(expected, request_id(BATCH, 7))


def test_what_was_spent_is_spent_once() -> None:
    spent = Spent(100, 5, 90, 0.1, 0.2, 1, 1, cold_answers=1, lowered_answers=1)
    copy = outcome_of_copy(Outcome(3, answered("a", 3), spent=spent), 7, "b", 8)
    assert (copy.index, copy.is_error, copy.place) == (7, False, None)
    kept = {"empty_answers": 1, "cut_answers": 1, "lowered_answers": 1}
    assert copy.spent == Spent(**kept, deduplicated_answers=1)
    original = Outcome(3, answered("a", 3), True, Category.OOM, 3, 2)
    copy = outcome_of_copy(original, 7, "b", 8)
    assert (copy.is_error, copy.category, copy.attempts, copy.spent) == (True, Category.OOM, 0, Spent())


def test_an_attempt_that_ends_nothing_ends_no_copy() -> None:
    with pytest.raises(AssertionError):
        outcome_of_copy(Outcome(3, None), 7, "b", 8)
