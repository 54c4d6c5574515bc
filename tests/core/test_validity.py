"""Validity: what counts as the JSON that was asked for."""

from dataclasses import replace

import pytest

from batchd.core.fault import Category
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Message, Request
from batchd.core.schema import Breach, Reason
from batchd.core.validity import ANSWER_CUT, Answers, asks_for_json, cut, reject, settled, unread

SCHEMA = {"type": "json_schema", "schema": {"type": "array"}}


def asked(response_format: object) -> Request:
    message = (Message("user", "hi"),)
    return Request("a", Endpoint.CHAT, "m", message, (), {"response_format": response_format}, 64)


def said(text: str, finish: str = "stop") -> Answer:
    return Answer(text, None, finish, Usage(10, 5, None, Source.UNKNOWN, None, None))


@pytest.mark.parametrize(
    "text", ['{"a": 1}', ' \n{"a": [1, 2.5, null]}\n', "{}", '{"a": "ä \\ud83d\\ude00"}']
)
def test_one_object_is_what_json_object_asks(text: str) -> None:
    assert unread(asked({"type": "json_object"}), said(text)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("Sure! {}", "unexpected"),
        ('```json\n{"a": 1}\n```', "Markdown fence"),
        ('{"a": 1} {"a": 2}', "unexpected"),
        ('{"a": 1} I hope this helps.', "unexpected"),
        ('{"a": 1, "a": 2}', "the key 'a' is doubled"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 123456789012345678901234567890}', "beyond 64 bits"),
        ('{"a": 1e999}', "too large"),
        ('{"a": "\\ud83d"}', "surrogate"),
        ('{"a": "\ud83d"}', "surrogate"),
        ("{'a': 1}", ""),
        ('{"a": 1,}', ""),
        ("[" * 300 + "]" * 300, "nested deeper"),
        ("[1]", "no object"),
        ('"text"', "no object"),
        ("5", "no object"),
        ("null", "no object"),
    ],
)
def test_what_programs_read_in_two_ways_or_not_at_all_is_not_json(text: str, words: str) -> None:
    found = unread(asked({"type": "json_object"}), said(text))
    assert found is not None
    assert found.reason is Reason.NOT_JSON
    assert words in found.text


def test_with_a_schema_the_schema_says_what_kind_of_value_it_is() -> None:
    assert unread(asked(SCHEMA), said("[1]")) is None
    assert unread(asked(SCHEMA), said("[1")) is not None


def test_thoughts_do_not_count() -> None:
    thought = replace(said(""), reasoning='{"a": 1}')
    assert unread(asked({"type": "json_object"}), thought) is not None


def test_an_answer_that_broke_off_is_cut_and_not_wrong() -> None:
    breach = Breach(Reason.NOT_JSON, "it is no JSON")
    assert cut(said("{", "length"), breach).reason is Reason.CUT
    assert cut(said("{"), breach) is breach
    whole = Breach(Reason.SCHEMA, "0 is less than 1", "$.a", "minimum")
    assert cut(said('{"a": 0}\n\n\n', "length"), whole) is whole, "white space was all that was cut"


def test_a_rejected_answer_names_path_keyword_and_tries() -> None:
    fault = reject(said('{"a": 0}'), Breach(Reason.SCHEMA, "0 is less than 1", "$.a", "minimum"), 3)
    assert (fault.category, fault.code, fault.is_temporary) == (Category.INVALID_ANSWER, None, False)
    assert fault.message == (
        "The answer breaks its schema at $.a (minimum): 0 is less than 1. "
        "It was asked for 3 times, with different seeds; the last answer is kept."
    )
    assert fault.rejected is not None
    assert fault.rejected.text == '{"a": 0}'
    once = reject(said("no"), Breach(Reason.NOT_JSON, "it is no JSON"), 1)
    assert "It was asked for once" in once.message
    broken_off = reject(said("{", "length"), Breach(Reason.CUT, "it is no JSON"), 1)
    assert broken_off.code == ANSWER_CUT
    assert "its bound of 5 tokens" in broken_off.message


def test_only_who_asks_for_json_is_held_to_it() -> None:
    assert asks_for_json(asked(SCHEMA))
    assert not asks_for_json(replace(asked(SCHEMA), parameters={}))


def test_a_batch_may_ask_otherwise_than_the_operator_set() -> None:
    assert settled(None, Answers.AS_GIVEN) is Answers.AS_GIVEN
    assert settled("checked", Answers.AS_GIVEN) is Answers.CHECKED
