"""Copies: the outcome of a request, for those that ask the same and were not computed.

SUMMARY
    A copy has an outcome, a result line, a custom_id and identities of its own. What it holds is its
    original's, be it an answer or an error; what was spent stands in the original's line alone, and a copy's
    usage is 0.

DIAGNOSTICS
    Bug: a line that `core/result` did not write.
"""

from collections.abc import Mapping
from typing import Any

from batchd.core.json import dumps_line, loads
from batchd.core.record import Outcome, Spent
from batchd.core.rejection import parted, with_rejected
from batchd.core.result import INDEX_DIGITS

#: The source of the counts in a copy's usage.
DEDUPLICATED = "deduplicated"

_NO_USAGE: Mapping[str, object] = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 0, "cached_tokens_source": DEDUPLICATED},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def outcome_of_copy(original: Outcome, index: int, custom_id: str, number: int) -> Outcome:
    """What the line of this index ends with, now that its original has ended. `number`: from 1."""
    assert original.line is not None, "an attempt that will be repeated ends nothing"
    spent = Spent(
        empty_answers=original.spent.empty_answers,
        cut_answers=original.spent.cut_answers,
        lowered_answers=original.spent.lowered_answers,
        zero_answers=original.spent.zero_answers,
        not_json_answers=original.spent.not_json_answers,
        broken_answers=original.spent.broken_answers,
        deduplicated_answers=int(not original.is_error),
    )
    line = copied_line(original.line, index, custom_id, number)
    return Outcome(index, line, original.is_error, original.category, spent=spent)


def copied_line(original: bytes, index: int, custom_id: str, number: int) -> bytes:
    """The finished line of the original, with what is the copy's own; what was rejected is told of both."""
    original, rejected = parted(original)
    found: dict[str, Any] = loads(original)  # type: ignore[assignment]  # we wrote it
    name = _own(found["id"], index)
    found |= {"id": name, "custom_id": custom_id}
    if found["error"] is not None:
        found["error"]["line"] = number
    if found["response"] is not None:
        found["response"]["request_id"] = name.removeprefix("batch_")
        body = found["response"]["body"]
        if "id" in body:
            body["id"] = _own(body["id"], index)
        if "usage" in body:
            body["usage"] = _NO_USAGE
    line = dumps_line(found)
    if rejected is None:
        return line
    kept: dict[str, Any] = loads(rejected)  # type: ignore[assignment]  # as above
    return with_rejected(line, dumps_line(kept | {"custom_id": custom_id}))


def _own(identity: str, index: int) -> str:
    return f"{identity[:-INDEX_DIGITS]}{index:0{INDEX_DIGITS}x}"
