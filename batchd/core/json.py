"""JSON: the only file that knows orjson.

SUMMARY
    `dumps`         a value as compact UTF-8 bytes, without a newline
    `dumps_line`    the same, for one line of a file
    `loads`         bytes that a program wrote: fast, and as trusting as orjson is
    `loads_strict`  bytes that a person may have written: refuses all that could be read in two ways

    orjson takes the last of two equal keys and turns an integer beyond 64 bits into a float, both without a
    word. `loads_strict` finds them cheaply. A key ends with a quote and a colon, so a text that has as many
    of these pairs as the value has keys cannot have doubled one; an integer that lost its digits is a float
    of 2^63 or more. Only a text under suspicion is read again, slowly and exactly.

    Time is linear in the text, whatever stands in it. Memory is too: orjson's reader takes twelve times the
    text, and the value up to two dozen times (`[[],[],...]` is the worst).

DIAGNOSTICS
    None raised but JsonFault, by `loads_strict`; `loads` raises ValueError for what is not JSON, `dumps`
    TypeError for what JSON cannot say.
"""

import json as exact
import re
from math import isfinite
from typing import Any

import orjson

#: Levels of arrays and objects in one text. orjson cannot write more than 254, and a value read here is
#: written again, some levels deeper, when it goes to a model server.
NESTING_MAX = 200

#: From here on a float may be an integer that orjson could not hold.
_FLOAT_SUSPECT = 2.0**63

#: JSON allows them as they are; `str.splitlines` cuts there, and many a reader of results uses it.
_LINE_ENDS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)

#: Digits of a text that int() may convert without being slow; 64 bits have at most 20.
_INTEGER_DIGITS_MAX = 20

#: Characters of a key that are shown in a reason.
_KEY_CHARS_SHOWN = 64

_TOO_DEEP = f"it is nested deeper than {NESTING_MAX} levels"
_BIG_INTEGER = "it has an integer beyond 64 bits"
_BIG_FLOAT = "it has a number that is too large for a float"
_HALF_SURROGATE = "it has half of a surrogate pair, which no UTF-8 text can hold"

_BOM = b"\xef\xbb\xbf"

#: Every end of a key, and what looks like one inside of strings: `\":` and a string that begins with a colon.
_KEY_END_OR_LIKE = re.compile(rb'"\s*:')

#: The same without `\":`. Exact about ends of keys unless a key ends with a backslash (`\\":`).
_KEY_END = re.compile(rb'"(?<!\\")\s*:')
_KEY_ENDS_WITH_BACKSLASH = b'\\\\"'

#: A string, be it ended or not, or a bracket. Possessive: a stranger's text must not make it try again.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class JsonFault(ValueError):  # noqa: N818  (a fault is expected trouble, not an error of ours)
    """Why a text is refused, as a phrase; ours are expected, so callers turn it into a value.

    `is_syntax`: it is no JSON, and nothing more is to be said than where. `readable` is what can be read
    nevertheless: doubled keys are left out, 0 stands for a number that cannot be kept, and a string may have
    half of a surrogate pair.
    """

    def __init__(self, reason: str, readable: object = None, is_syntax: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.readable = readable
        self.is_syntax = is_syntax


def dumps(value: object) -> bytes:
    """Compact UTF-8, keys in the order of the value."""
    return orjson.dumps(value)


def dumps_line(value: object) -> bytes:
    """The same, and no reader finds an end of line in it."""
    line = dumps(value)
    for raw, escaped in _LINE_ENDS:
        line = line.replace(raw, escaped)
    return line


def loads(raw: bytes) -> object:
    """For our own files and the answers of servers."""
    value: object = orjson.loads(raw)
    return value


def loads_strict(raw: bytes) -> object:
    """For texts of strangers. Raises JsonFault."""
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _explain(raw, str(error)) from None
    key_count, has_suspect_float = _survey(value)
    if has_suspect_float or not _has_keys(raw, key_count):
        _read_exactly(raw)
    return value


def _survey(value: object) -> tuple[int, bool]:
    """How many keys the value has, and whether a float in it may have been an integer.

    Level by level and not by recursion: the depth of a stranger's text is not a depth of our stack.
    """
    key_count = 0
    is_suspect = False
    level: list[Any] = [value]
    for _ in range(NESTING_MAX + 1):
        inner: list[Any] = []
        for item in level:
            kind = type(item)  # orjson gives these types themselves, and no others
            if kind is str:
                continue
            if kind is dict:
                key_count += len(item)
                inner.extend(item.values())
            elif kind is list:
                inner.extend(item)
            elif kind is float and abs(item) >= _FLOAT_SUSPECT:
                is_suspect = True
        if not inner:
            return key_count, is_suspect
        level = inner
    raise JsonFault(_TOO_DEEP)


def _has_keys(raw: bytes, key_count: int) -> bool:
    """Whether the text has exactly so many keys. False also where that cannot be told cheaply."""
    if len(_KEY_END_OR_LIKE.findall(raw)) == key_count:
        return True
    if _KEY_ENDS_WITH_BACKSLASH in raw:
        return False
    return len(_KEY_END.findall(raw)) == key_count


def _read_exactly(raw: bytes) -> None:
    """Read the text again and refuse what has two meanings. Returns when it has only one."""
    if _is_too_deep(raw):  # in a value that the last of two equal keys has hidden
        raise JsonFault(_TOO_DEEP)
    reading = _ExactReading()
    readable = reading.read(raw)
    if reason := reading.reason():
        raise JsonFault(reason, readable)


class _ExactReading:
    """One pass of the standard library's reader, which shows every pair and every digit."""

    def __init__(self) -> None:
        self.doubled: str | None = None
        self.has_big_integer = False
        self.has_big_float = False
        self.constant: str | None = None

    def read(self, raw: bytes) -> object:
        return exact.loads(
            raw.decode(),
            object_pairs_hook=self._pairs,
            parse_int=self._integer,
            parse_float=self._float,
            parse_constant=self._constant,
        )

    def reason(self) -> str | None:
        """What was seen on the way that no value shows any more; None when the text has one meaning."""
        if self.constant is not None:
            return f"{self.constant} is not a number in JSON"
        if self.doubled is not None:
            shown = self.doubled[:_KEY_CHARS_SHOWN].encode("utf-8", "replace").decode()
            return f"the key '{shown}' is doubled"
        if self.has_big_integer:
            return _BIG_INTEGER
        return _BIG_FLOAT if self.has_big_float else None

    def _pairs(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        single = dict(pairs)
        if len(single) == len(pairs):
            return single
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                self.doubled = self.doubled or key
                single.pop(key, None)
            seen.add(key)
        return single

    def _integer(self, digits: str) -> int:
        if len(digits) <= _INTEGER_DIGITS_MAX and -(2**63) <= (number := int(digits)) < 2**64:
            return number
        self.has_big_integer = True
        return 0

    def _float(self, digits: str) -> float:
        number = float(digits)
        if isfinite(number):
            return number
        self.has_big_float = True
        return 0.0

    def _constant(self, name: str) -> float:
        self.constant = name
        return 0.0


def _explain(raw: bytes, parser_says: str) -> JsonFault:
    """Why orjson refused: what a person can act on, else orjson's own words."""
    if raw.startswith(_BOM):
        return JsonFault("it begins with a byte-order mark")
    if _is_too_deep(raw):
        return JsonFault(_TOO_DEEP)
    reading = _ExactReading()
    try:
        value = reading.read(raw)
        _survey(value)  # the innermost value is a level too
    except UnicodeDecodeError as error:
        return JsonFault(f"it is not UTF-8 at byte {error.start + 1}")
    except JsonFault as fault:
        return fault
    except ValueError:
        return JsonFault(f"it is not JSON: {parser_says}", is_syntax=True)
    if reason := reading.reason():
        return JsonFault(reason, value)
    try:
        exact.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return JsonFault(_HALF_SURROGATE, value)
    return JsonFault(f"it is not JSON: {parser_says}", is_syntax=True)


def _is_too_deep(raw: bytes) -> bool:
    """Told from the brackets alone, so that the answer hangs on the text and not on what our stack holds."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > NESTING_MAX + 1:
                return True
        elif token in (b"]", b"}"):
            depth -= 1
    return False
