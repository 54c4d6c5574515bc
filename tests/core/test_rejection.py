"""Rejection: the answer that is kept below its error line."""

from batchd.core.fault import Category, ModelFault, Rejected
from batchd.core.json import loads
from batchd.core.rejection import REJECTED_CHARS_MAX, kept_of, parted, why_of, with_rejected
from batchd.core.result import model_fault_line, request_id
from batchd.core.schema import Breach, Reason

BREACH = Breach(Reason.SCHEMA, "0 is less than 1", "$.a", "minimum")
ID = request_id(f"batch_{0:032x}", 3)


def rejected(text: str, reasoning: str | None = None) -> Rejected:
    return Rejected(BREACH, text, reasoning, "stop", 10, 5)


def test_an_outcome_of_two_lines_comes_apart_again() -> None:
    assert parted(with_rejected(b"{}", b"[]")) == (b"{}", b"[]")
    assert parted(b"{}") == (b"{}", None)


def test_the_error_line_says_why_and_the_answer_is_kept_below_it() -> None:
    fault = ModelFault(Category.INVALID_ANSWER, "It breaks.", False, rejected=rejected('{"a": 0}\u2028'))
    line, kept = parted(model_fault_line("x", 4, fault, ID))
    assert loads(line) == {
        "id": f"batch_req_{ID}",
        "custom_id": "x",
        "response": None,
        "error": {
            "code": "invalid_answer",
            "message": "It breaks.",
            "line": 4,
            "reason": "schema",
            "path": "$.a",
            "keyword": "minimum",
        },
    }
    assert kept is not None
    assert b"\xe2\x80\xa8" not in kept, "no reader finds an end of line in it"
    told = loads(kept)
    assert isinstance(told, dict)
    assert (told["custom_id"], told["code"], told["path"]) == ("x", "invalid_answer", "$.a")
    assert told["body"]["choices"][0]["message"]["content"] == '{"a": 0}\u2028'
    assert told["body"]["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert "characters" not in told


def test_what_has_no_path_says_null() -> None:
    assert why_of(Rejected(Breach(Reason.NOT_JSON, "empty"), "", None, "stop", 1, 1)) == {
        "reason": "not_json",
        "path": None,
        "keyword": None,
    }


def test_a_long_answer_is_kept_in_part_and_says_how_long_it_was() -> None:
    kept = kept_of(rejected("x" * (REJECTED_CHARS_MAX + 1), "y" * (REJECTED_CHARS_MAX + 5)))
    assert kept["characters"] == REJECTED_CHARS_MAX + 1
    body = kept["body"]
    assert isinstance(body, dict)
    message = body["choices"][0]["message"]
    assert len(message["content"]) == len(message["reasoning_content"]) == REJECTED_CHARS_MAX
