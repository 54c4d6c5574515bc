"""Outcome lines and input lines, as an auditor reads them: from their bytes alone.

SUMMARY
    `read_outcome` is the opposite of `core/result`, written apart from it on purpose: a mistake that both
    shared would never be found. A line names its batch and its line index in its `id`, so that order, gaps
    and doubles show without the input. `Inputs` holds of each input line eight bytes of hash for its
    custom_id and eight for its content: 16 MB for a million lines.

DIAGNOSTICS
    None raised: a line that is wrong is answered with a phrase that says why. An OSError of the reader
    passes through.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from batchd.core.json import JsonFault, loads, loads_strict
from batchd.core.lines import Lines, Reader

#: Longer input lines are not read; the limit of batchd itself is 8 MiB unless the operator set another.
INPUT_LINE_BYTES_MAX = 64 * 1024**2

#: Hashes of what is not there, and of what was not read.
NO_ID = 0
NOT_READ = 1

_PREFIX = "batch_req_"
_KEYS = frozenset({"id", "custom_id", "response", "error"})
_ID_DIGITS = 32
_INDEX_DIGITS_MIN = 8
#: The code of a line over the limit: its custom_id was not read, so null stands for any.
_TOO_LONG = "line_too_long"
_BODIES = frozenset({"chat.completion", "text_completion", "list"})


class Kind(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """One line of output.jsonl or errors.jsonl."""

    index: int
    custom_id: str | None
    kind: Kind
    code: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_error(self) -> bool:
        """Whether it belongs into errors.jsonl."""
        return self.kind is not Kind.ANSWERED

    def is_of(self, custom_id: str | None) -> bool:
        """Whether it is the outcome of a line with this custom_id."""
        return self.custom_id == custom_id or self._is_unread

    def is_of_key(self, key: int) -> bool:
        """The same, where only the hash of the custom_id is at hand."""
        return key in (NOT_READ, id_key(self.custom_id)) or self._is_unread

    @property
    def _is_unread(self) -> bool:
        return self.custom_id is None and self.code == _TOO_LONG


def id_key(custom_id: str | None) -> int:
    """Eight bytes for a custom_id; `NO_ID` for none."""
    return NO_ID if custom_id is None else _hash(custom_id.encode("utf-8", "surrogatepass"))


def content_key(raw: bytes) -> int:
    """Eight bytes for the content of a line."""
    return _hash(raw)


def custom_id_of(raw: bytes) -> str | None:
    """The custom_id of a request line, wherever one can be read."""
    try:
        value = loads_strict(raw)
    except JsonFault as fault:
        value = fault.readable
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    return custom_id if isinstance(custom_id, str) else None


class Inputs:
    """What an auditor keeps of a batch file. The index of a line counts those that are not blank."""

    def __init__(self, reader: Reader) -> None:
        self.ids = array("Q")
        self.contents = array("Q")
        for line in Lines(reader, INPUT_LINE_BYTES_MAX):
            self.ids.append(NOT_READ if line.raw is None else id_key(custom_id_of(line.raw)))
            self.contents.append(NOT_READ if line.raw is None else content_key(line.raw))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Inputs of {len(self)} lines>"


def read_outcome(raw: bytes, batch_id: str) -> OutcomeLine | str:
    """The outcome in these bytes, with or without their newline, or why there is none."""
    try:
        value = loads(raw)
    except ValueError:
        return "is not JSON"
    if not isinstance(value, dict) or value.keys() != _KEYS:
        return "has not exactly the keys id, custom_id, response and error"
    index = _index(value["id"], batch_id)
    if index is None:
        return "has an id that is not of this batch"
    custom_id = value["custom_id"]
    if custom_id is not None and not isinstance(custom_id, str):
        return "has a custom_id that is no string"
    response, error = value["response"], value["error"]
    if response is None:
        return _unanswered(index, custom_id, error)
    if error is not None or not isinstance(response, dict):
        return "has both response and error, or a response that is no object"
    if response.get("request_id") != f"req_{value['id'][len(_PREFIX) :]}":
        return "has a request_id that is not its id's"
    return _responded(index, custom_id, response)


def _index(identity: object, batch_id: str) -> int | None:
    own = _PREFIX + batch_id.removeprefix("batch_")
    if not isinstance(identity, str) or not identity.startswith(own):
        return None
    digits = identity[len(own) :]
    if len(digits) < _INDEX_DIGITS_MIN or not set(digits) <= set("0123456789abcdef"):
        return None
    return int(digits, 16)


def _unanswered(index: int, custom_id: str | None, error: object) -> OutcomeLine | str:
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return "has neither a response nor an error with a code"
    if not isinstance(error.get("message"), str) or not isinstance(error.get("line"), int):
        return "has an error without message or line"
    return OutcomeLine(index, custom_id, Kind.UNANSWERED, error["code"])


def _responded(index: int, custom_id: str | None, response: Mapping[str, object]) -> OutcomeLine | str:
    body = response.get("body")
    if not isinstance(body, dict):
        return "has a response without a body"
    if response.get("status_code") == 200:
        if custom_id is None:
            return "has an answer and no custom_id"
        return _answered(index, custom_id, body)
    error = body.get("error")
    if response.get("status_code") != 400 or not isinstance(error, dict):
        return "has a response that is neither an answer nor a refusal"
    if not isinstance(error.get("code"), str) or not isinstance(error.get("message"), str):
        return "has a refusal without code or message"
    return OutcomeLine(index, custom_id, Kind.REFUSED, error["code"])


def _answered(index: int, custom_id: str, body: Mapping[str, object]) -> OutcomeLine | str:
    if body.get("object") not in _BODIES:
        return "has a body that is no answer of a known endpoint"
    found = body.get("data" if body["object"] == "list" else "choices")
    usage = body.get("usage")
    if not isinstance(found, list) or not found:
        return "has an answer that holds nothing"
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return "has an answer without usage"
    completion = usage.get("completion_tokens", 0)  # embeddings have none
    if not isinstance(completion, int):
        return "has a usage that is no number"
    return OutcomeLine(index, custom_id, Kind.ANSWERED, "", usage["prompt_tokens"], completion)


def _hash(raw: bytes) -> int:
    """Never one of the two reserved numbers."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest()) | 2
