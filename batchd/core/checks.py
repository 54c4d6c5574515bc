"""Checks: what a value of a request body must look like, and the words for what is wrong with it.

SUMMARY
    Flaw           what is wrong with a request, in OpenAI's code, message and param
    wrong_type, wrong_value, unsupported, missing        make one
    number, integer, word, stop, response_format         look at one value, for the table of `core/parameters`

    A check answers with the value as it is kept, in neutral form, or with the flaw.

DIAGNOSTICS
    None raised: a bad value is a `Flaw`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Flaw(NamedTuple):
    """What is wrong with a request, in OpenAI's words; the line's `LineFault` is made of it."""

    code: str
    message: str
    param: str | None


#: Takes the path of the parameter and its value; answers with the value as it is kept (None: it says nothing)
#: or with a `Flaw`.
Check = Callable[[str, object], object]

#: Characters of a stranger's text that a message shows.
SHOWN_CHARS_MAX = 100

_KINDS = {
    "NoneType": "null",
    "bool": "a boolean",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list": "an array",
    "dict": "an object",
}


def shown(text: str) -> str:
    """A stranger's text, cut for a message."""
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."


def wrong_type(path: str, expected: str, value: object) -> Flaw:
    """The value is of another JSON type."""
    got = _KINDS[type(value).__name__]
    return Flaw(
        "invalid_type", f"Invalid type for '{path}': expected {expected}, but got {got} instead.", path
    )


def wrong_value(path: str, reason: str) -> Flaw:
    """The type is right, the value is not."""
    return Flaw("invalid_value", f"Invalid value for '{path}': {reason}.", path)


def unsupported(path: str, reason: str) -> Flaw:
    """It would change the answer, and batchd cannot do it."""
    return Flaw("unsupported_parameter", f"Unsupported parameter: '{path}' {reason}.", path)


def missing(path: str) -> Flaw:
    """What must be there is not, or is null."""
    return Flaw("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def foreign_key(path: str, value: Mapping[str, object], known: frozenset[str]) -> Flaw | None:
    """The first key that nobody here reads. With null or an empty array it says nothing and is no flaw."""
    for key, inner in value.items():
        if key not in known and inner is not None and inner != []:
            return unsupported(f"{path}.{shown(key)}", "is not supported by batchd")
    return None


def number(low: float, high: float) -> Check:
    """A JSON number; `true` is none."""

    def check(path: str, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return wrong_type(path, "a number", value)
        if not low <= value <= high:
            return wrong_value(path, f"expected a number from {low:g} to {high:g}, but got {value:g}")
        return float(value)

    return check


def integer(low: int, high: int) -> Check:
    """An integer as JSON writes it; `16.0` is none."""

    def check(path: str, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            return wrong_type(path, "an integer", value)
        if not low <= value <= high:
            return wrong_value(path, f"expected an integer from {low} to {high}, but got {value}")
        return value

    return check


def word(*words: str, silent: str | None = None) -> Check:
    """One of these words; `silent` is the one that says nothing."""

    def check(path: str, value: object) -> object:
        if not isinstance(value, str):
            return wrong_type(path, "a string", value)
        if value not in words:
            return wrong_value(path, f"expected one of {', '.join(words)}, but got '{shown(value)}'")
        return None if value == silent else value

    return check


#: OpenAI takes at most four stop sequences.
_STOP_COUNT_MAX = 4


def stop(path: str, value: object) -> object:
    """One sequence or a few; none of them is empty."""
    sequences = [value] if isinstance(value, str) else value
    if not isinstance(sequences, list):
        return wrong_type(path, "a string or an array of strings", value)
    if len(sequences) > _STOP_COUNT_MAX:
        return wrong_value(path, f"expected at most {_STOP_COUNT_MAX} sequences, but got {len(sequences)}")
    for sequence in sequences:
        if not isinstance(sequence, str):
            return wrong_type(path, "a string or an array of strings", sequence)
        if not sequence:
            return wrong_value(path, "an empty string stops nothing")
    return tuple(sequences) or None


_FORMAT_KEYS = frozenset({"type", "json_schema"})
_SCHEMA_KEYS = frozenset({"name", "description", "schema", "strict"})


def response_format(path: str, value: object) -> object:
    """`text` says nothing; of the others only what can change an answer is kept."""
    if not isinstance(value, dict):
        return wrong_type(path, "an object", value)
    if flaw := foreign_key(path, value, _FORMAT_KEYS):
        return flaw
    match value.get("type"):
        case None:
            return missing(f"{path}.type")
        case "json_schema":
            return _json_schema(f"{path}.json_schema", value.get("json_schema"))
        case "text" | "json_object" as kind:
            if value.get("json_schema") is not None:
                return wrong_value(path, f"a json_schema needs the type 'json_schema', not '{kind}'")
            return None if kind == "text" else {"type": kind}
        case str() as kind:
            known = "text, json_object, json_schema"
            return wrong_value(f"{path}.type", f"expected one of {known}, but got '{shown(kind)}'")
        case kind:
            return wrong_type(f"{path}.type", "a string", kind)


def _json_schema(path: str, value: object) -> object:
    """Only the schema itself can change an answer: engines hold to it always, and show the model no name."""
    if value is None:
        return missing(path)
    if not isinstance(value, dict):
        return wrong_type(path, "an object", value)
    if flaw := foreign_key(path, value, _SCHEMA_KEYS):
        return flaw
    schema = value.get("schema")
    if schema is None:
        return missing(f"{path}.schema")
    if not isinstance(schema, dict):
        return wrong_type(f"{path}.schema", "an object", schema)
    return {"type": "json_schema", "schema": schema}
