"""Reply: what a model server said, taken as data: bounded, typed, and never the end of more than one request.

SUMMARY
    guarded       the one guard: whatever goes wrong while a reply is read is a temporary fault
    whole, seconds, text, mapping, items, vectors
                  readers of what an answer must have; they raise OddReply
    count_or_none, text_or_empty
                  readers of what a server tells of itself; what is odd counts as not told
    shown, without_tags
                  a strange value, and the page of a gateway, for a message

    `true` is no number, a count is no text, and what no answer can hold is refused here, so that nothing
    that is odd goes on into a journal, a result or a calculation.

DIAGNOSTICS
    None raised by `guarded`. The readers raise OddReply, for `guarded` to catch.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TypeVar

from batchd.core.fault import Category, ModelFault
from batchd.core.text import printable

#: Tokens of one request: more than any window has. A million of them still sum up in 64 bits.
COUNT_MAX = 2**31

#: Bytes of memory: more than any machine has, and a whole number in every reader of JSON.
BYTES_MAX = 2**53

#: Seconds of one request: a week. No limit of ours is longer.
DURATION_S_MAX = 7 * 86_400.0

#: The largest 32-bit float: vectors are handed out in that form too, in base64.
FLOAT_MAX = 3.4028234663852886e38

#: Characters of a name, a digest or a version that are believed.
NAME_CHARS_MAX = 200

#: Characters of a strange value in a message.
_SHOWN_CHARS = 60

#: Characters of an exception's own words in a message.
_REASON_CHARS = 300

#: Of a gateway's page only the beginning is worth a look.
_PAGE_CHARS = 4_096

_TAG = re.compile(r"<[^<>]*>")

_NUMBERS = frozenset({int, float})

T = TypeVar("T")


class OddReply(ValueError):  # noqa: N818  (expected trouble, turned into a value by `guarded`)
    """What is wrong with a reply, as a phrase."""


def guarded(read: Callable[[], T | ModelFault]) -> T | ModelFault:
    """What `read` makes of a reply, or the fault that it is. Another attempt may bring a better one."""
    try:
        return read()
    except OddReply as odd:
        return unreadable(str(odd))
    except Exception as error:  # noqa: BLE001  (what a server sends must not end more than its own request)
        return unreadable(f"{type(error).__name__}: {error}")


def unreadable(reason: str) -> ModelFault:
    """A reply that is none."""
    said = f"The model server's answer cannot be read: {printable(reason[:_REASON_CHARS])}."
    return ModelFault(Category.SERVER, said, is_temporary=True)


def whole(value: object, what: str, most: int = COUNT_MAX) -> int:
    """A count, from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise OddReply(f"{what} is {shown(value)}, and not a count from 0 to {most}")
    return value


def seconds(value: object, per_second: float, what: str) -> float:
    """A duration that came in units of which a second has so many."""
    if type(value) not in _NUMBERS or not isinstance(value, int | float):
        raise OddReply(f"{what} is {shown(value)}, and not a duration")
    found = value / per_second
    if not 0 <= found <= DURATION_S_MAX:
        raise OddReply(f"{what} is {shown(value)}, and no request takes so long")
    return found


def text(value: object, what: str) -> str:
    """A text, of any length."""
    if not isinstance(value, str):
        raise OddReply(f"{what} is {shown(value)}, and not a text")
    return value


def mapping(value: object, what: str) -> Mapping[str, object]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise OddReply(f"{what} is {shown(value)}, and not an object")
    return value


def items(value: object, what: str) -> Sequence[object]:
    """An array of JSON."""
    if not isinstance(value, list):
        raise OddReply(f"{what} is {shown(value)}, and not an array")
    return value


def vectors(rows: Sequence[object], count: int) -> tuple[tuple[float, ...], ...]:
    """One vector for each of so many inputs: all of one length, of numbers that 32 bits can hold."""
    if len(rows) != count:
        raise OddReply(f"it has {len(rows)} vectors for {count} inputs")
    found = tuple(_vector(row) for row in rows)
    lengths = sorted({len(vector) for vector in found})
    if len(lengths) > 1:
        raise OddReply(f"its vectors have different lengths: {lengths[0]} and {lengths[-1]}")
    return found


def _vector(row: object) -> tuple[float, ...]:
    numbers = items(row, "a vector")
    if not numbers:
        raise OddReply("a vector has no numbers")
    if not _NUMBERS.issuperset(map(type, numbers)):
        strange = next(number for number in numbers if type(number) not in _NUMBERS)
        raise OddReply(f"a vector has {shown(strange)} among its numbers")
    vector = tuple(map(float, numbers))  # type: ignore[arg-type]  # each is an int or a float: just seen
    if not all(map(isfinite, vector)) or max(vector) > FLOAT_MAX or min(vector) < -FLOAT_MAX:
        raise OddReply("a vector has a number that is not finite in 32 bits")
    return vector


def count_or_none(value: object, least: int = 1, most: int = COUNT_MAX) -> int | None:
    """A count that a server tells of itself; None: not told, or nothing that can be."""
    return value if type(value) is int and least <= value <= most else None


def text_or_empty(value: object, chars_max: int = NAME_CHARS_MAX) -> str:
    """A name that a server tells of itself, on one line; empty: not told, or no name."""
    return printable(value[:chars_max]) if isinstance(value, str) else ""


def shown(value: object) -> str:
    """What it was, shortly: of an array or an object only that."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "absent"
    return printable(repr(value[:_SHOWN_CHARS] if isinstance(value, str) else value))


def without_tags(page: str) -> str:
    """The words of a page of HTML, or of any text, on one line."""
    return " ".join(_TAG.sub(" ", page[:_PAGE_CHARS]).split())
