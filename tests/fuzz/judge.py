"""The judge of a fuzzed line: what the standard library makes of it, and what batchd must then say.

SUMMARY
    read          the one meaning of a line, and its custom_id where that can be read, told by another reader
    judge_line    one outcome, the right one: asserts all that holds for every line
    cut           the lines of a file, told by another cutter
    judge_result  a result line as any program will read it

DIAGNOSTICS
    AssertionError: batchd says otherwise.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from batchd.core.fault import LineFault
from batchd.core.json import NESTING_MAX, dumps
from batchd.core.lines import Line
from batchd.core.request import Endpoint, LineLimits, Request, canonical_head, canonical_text, parse_line
from batchd.core.result import line_fault_line
from batchd.core.tokens import estimate_request

#: Every code that a line can have when it comes in; the format's page has them too.
CODES = frozenset(
    {
        "invalid_json_line",
        "line_too_long",
        "missing_required_parameter",
        "invalid_type",
        "invalid_value",
        "invalid_url",
        "invalid_request",
        "streaming_unsupported",
        "unsupported_parameter",
        "duplicate_custom_id",
        "mismatched_model",
    }
)

#: An error line may show a stranger's text, but not all of it.
MESSAGE_CHARS_MAX = 500
PARAM_CHARS_MAX = 250

ID = f"{'a' * 32}{7:08x}"


@dataclass(slots=True)
class Reading:
    """`value` None: the line has no meaning, or two. `custom_id` may be readable nevertheless."""

    value: dict[str, Any] | None
    custom_id: str | None


class _Witness:
    """The standard library's reader, with all that it lets pass written down."""

    def __init__(self) -> None:
        self.is_doubtful = False

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) == len(names):
            return dict(pairs)
        self.is_doubtful = True
        # All values are kept, for their depth; those of a doubled name where no name can find them.
        counts = Counter(names)
        return {name if counts[name] == 1 else (name, at): value for at, (name, value) in enumerate(pairs)}

    def integer(self, digits: str) -> int:
        if len(digits.lstrip("-")) <= 20 and -(2**63) <= int(digits) < 2**64:
            return int(digits)
        self.is_doubtful = True
        return 0

    def decimal(self, digits: str) -> float:
        self.is_doubtful |= math.isinf(float(digits))
        return float(digits)

    def constant(self, name: str) -> float:
        self.is_doubtful = True
        return 0.0


def read(raw: bytes) -> Reading:
    """Another reader's opinion."""
    witness = _Witness()
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=witness.pairs,
            parse_int=witness.integer,
            parse_float=witness.decimal,
            parse_constant=witness.constant,
        )
    except (ValueError, RecursionError):
        return Reading(None, None)
    if not isinstance(value, dict) or depth(value) > NESTING_MAX + 1:
        return Reading(None, None)
    said = value.get("custom_id")
    custom_id = said if isinstance(said, str) and is_text(said) else None
    has_one_meaning = not witness.is_doubtful and is_text(json.dumps(value, ensure_ascii=False))
    return Reading(value if has_one_meaning else None, custom_id)


def depth(value: object) -> int:
    """Levels, the innermost value among them."""
    levels, items = 0, [value]
    while items:
        levels += 1
        items = [
            inner
            for item in items
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
    return levels


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    return not any(0xD800 <= ord(char) < 0xE000 for char in text)


def judge_line(raw: bytes, number: int = 1, endpoint: Endpoint | None = None) -> Request | LineFault:
    """What this line is by itself, after everything was asserted that holds for any line."""
    limits = LineLimits()
    outcome = parse_line(raw, number, limits, endpoint)
    reading = read(raw)
    if isinstance(outcome, LineFault):
        judge_fault(outcome, reading)
        assert (outcome.code == "invalid_json_line") == (reading.value is None), outcome
        return outcome
    judge_request(outcome, raw, reading)
    return outcome


def judge_request(request: Request, raw: bytes, reading: Reading) -> None:
    """A request says what its line says, and will be read the same right before it is sent."""
    value = reading.value
    assert value is not None, request
    body = value["body"]
    assert (request.custom_id, request.model) == (value["custom_id"], body["model"])
    assert request.endpoint == value["url"]
    assert [message.text for message in request.messages] == [
        said(item) for item in body.get("messages") or ()
    ]
    given = body.get("prompt") if request.endpoint is Endpoint.COMPLETIONS else body.get("input")
    texts = (given,) if isinstance(given, str) else tuple(given or ())
    assert request.inputs == (texts if request.endpoint is not Endpoint.CHAT else ())
    assert parse_line(raw, 99, LineLimits(line_bytes_max=len(raw)), None) == request
    assert canonical_text(request).startswith(canonical_head(request))
    assert 0 < estimate_request(request) < len(raw)
    dumps({"options": dict(request.parameters)})  # an engine's edge will write it


def said(message: dict[str, Any]) -> str:
    """The one text of a message."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def judge_fault(fault: LineFault, reading: Reading) -> None:
    """A fault has a known code, bounded words, the custom_id wherever there is one, and a good error line."""
    assert fault.code in CODES, fault.code
    assert 0 < len(fault.message) <= MESSAGE_CHARS_MAX
    assert len(fault.param or "") <= PARAM_CHARS_MAX
    assert fault.custom_id == reading.custom_id, fault.code
    written = judge_result(line_fault_line(fault, ID), fault.custom_id)
    error, response = written["error"], written["response"]
    if fault.custom_id is None:
        assert response is None
        assert error == {"code": fault.code, "message": fault.message, "line": fault.line}
        return
    assert error is None
    assert (response["status_code"], response["request_id"]) == (400, f"req_{ID}")
    assert response["body"] == {
        "error": {
            "message": fault.message,
            "type": "invalid_request_error",
            "param": fault.param,
            "code": fault.code,
        }
    }


def judge_result(line: bytes, custom_id: str | None) -> dict[str, Any]:
    """One line for every reader, valid JSON, OpenAI's four keys."""
    text = line.decode()
    assert text.splitlines() == [text]
    value = json.loads(text)
    assert isinstance(value, dict)
    assert list(value) == ["id", "custom_id", "response", "error"]
    assert value["id"] == f"batch_req_{ID}"
    assert value["custom_id"] == custom_id
    assert (value["response"] is None) != (value["error"] is None)
    return value


def cut(content: bytes) -> list[Line]:
    """The lines that are not blank, with their numbers and places."""
    lines, offset = [], 0
    for number, piece in enumerate(content.split(b"\n"), start=1):
        start, raw = offset, piece
        if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
            start, raw = 3, raw[3:]
        offset += len(piece) + 1
        if offset <= len(content):  # a newline followed
            raw = raw.removesuffix(b"\r")
        if raw.strip(b" \t\r\x0b\x0c"):
            lines.append(Line(number, start, len(raw), raw))
    return lines
