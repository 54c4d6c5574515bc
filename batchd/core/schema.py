"""Schemas: the only file that knows jsonschema-rs.

SUMMARY
    `read_schema`   a schema, ready to hold values against; SchemaFault where it is none
    `Schema.breach` the first thing in a value that the schema does not allow; None where it holds

    It is JSON Schema 2020-12 unless the schema names another draft in `$schema`. `format` is asserted, for
    the formats that JSON Schema defines. Nothing is ever fetched: a `$ref` that leaves the schema is a fault.

    Patterns are matched in linear time where the engine can, else with a bound on going back. That does not
    bound a schema as a whole: references that double at each step are read and checked for as long as one
    likes. So whoever calls this for a stranger does it where it can be ended (`edges/validation`).

DIAGNOSTICS
    None raised but SchemaFault, by `read_schema`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import jsonschema_rs as engine

#: Steps back in one match of a pattern that linear time cannot do (look-around, back references): 10 ms.
BACKTRACKS_MAX = 100_000

#: Bytes of one compiled pattern, and of what its matching keeps. Nobody's honest pattern needs a tenth.
PATTERN_BYTES_MAX = 2**20

#: Characters of a reason and of a path: the texts in them are a stranger's.
REASON_CHARS_MAX = 300
PATH_CHARS_MAX = 300

_CUT = " ... "


class Reason(StrEnum):
    """Why an answer is not what was asked for."""

    NOT_JSON = "not_json"
    SCHEMA = "schema"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Breach:
    """What is wrong with an answer: where (`$.a[0]`), and the keyword of the schema that says so.

    `text` is a phrase without a full stop; path and keyword are empty for what is no JSON at all.
    """

    reason: Reason
    text: str
    path: str = ""
    keyword: str = ""


class SchemaFault(ValueError):  # noqa: N818  (expected trouble, as `JsonFault`)
    """Why a schema is refused, as a phrase without a full stop."""


class Schema:
    """One schema, ready."""

    def __init__(self, validator: engine.Validator) -> None:
        self._validator = validator

    def __repr__(self) -> str:
        return f"<Schema {type(self._validator).__name__}>"

    def holds(self, value: object) -> bool:
        """Whether the value is allowed. Cheaper than `breach`, which may look at every way it could be."""
        return self._validator.is_valid(value)

    def breach(self, value: object) -> Breach | None:
        """The first thing that is not allowed."""
        if self.holds(value):
            return None
        try:
            self._validator.validate(value)
        except engine.ValidationError as error:
            path = shortened(path_of(error.instance_path), PATH_CHARS_MAX)
            keyword = next((part for part in reversed(error.schema_path) if isinstance(part, str)), "")
            return Breach(Reason.SCHEMA, _said(error.message), path, shortened(keyword, PATH_CHARS_MAX))
        return None


def read_schema(schema: Mapping[str, object]) -> Schema:
    """The schema, ready to use. Raises SchemaFault."""
    patterns = engine.FancyRegexOptions(BACKTRACKS_MAX, PATTERN_BYTES_MAX, PATTERN_BYTES_MAX)
    try:
        return Schema(
            engine.validator_for(dict(schema), validate_formats=True, offline=True, pattern_options=patterns)
        )
    except engine.ValidationError as error:
        place = path_of(error.instance_path)
        at = f" at {shortened(place, PATH_CHARS_MAX)}" if place != "$" else ""
        raise SchemaFault(f"{_said(error.message)}{at}") from None
    except (ValueError, engine.ReferencingError) as error:
        raise SchemaFault(_said(str(error))) from None


def path_of(parts: Sequence[str | int]) -> str:
    """A JSON path: `$.a[0]['two words']`."""
    return "$" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part.isidentifier() else f"[{part!r}]"
        for part in parts
    )


def shortened(text: str, chars_max: int) -> str:
    """Without its middle where it is longer: what was there stands first, and the rule it broke last."""
    if len(text) <= chars_max:
        return text
    half = (chars_max - len(_CUT)) // 2
    return f"{text[:half]}{_CUT}{text[-half:]}"


def _said(message: str) -> str:
    """The engine's words, in one line and of bounded length."""
    first = message.partition("\n")[0].strip().rstrip(".")
    return shortened(first, REASON_CHARS_MAX)
