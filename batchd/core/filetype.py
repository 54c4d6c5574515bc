"""File types: a whole file that is no JSON Lines at all, known by its beginning.

SUMMARY
    People hand in UTF-16 from PowerShell, a gzip, a CSV, one JSON array, indented objects, the output file of
    an earlier batch. Line by line that is one sentence for each line, and none of them says what helps.
    `foreign_type` looks at the beginning of the file, and gives one sentence with the command that mends it.

    Nothing that can run is refused here: if any line of the file is a request by its looks, it is read line
    by line, whatever it begins with. Two exceptions: an archive, which may hold its files as they are, and an
    array with an element on each line, whose last element has no comma behind it.

    The command in the sentence says FILE for the file, because a name may hold what a shell obeys.

DIAGNOSTICS
    None raised: a beginning that nothing is known of is no foreign type. An OSError of the reader passes
    through.
"""

import csv
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Protocol

from batchd.core.json import loads
from batchd.core.lines import Lines
from batchd.core.magic import AS_REQUESTS, ForeignType, binary, encoded, packed

#: What is looked at: some dozens of usual lines, and far more than any of the marks below needs.
HEAD_BYTES = 1 << 16

#: How far requests are searched for in a file that begins like something else, at some 0.5 GB a second: who
#: has so much in front of the first one does not mean it as a batch file.
_SEARCHED_BYTES_MAX = 1 << 28

#: A header of a table: names of columns, and no sentences.
_COLUMN_CHARS_MAX = 40

_REQUEST_KEYS = ("url", "body")
_BOM = b"\xef\xbb\xbf"

_REQUEST = 'custom_id: "line-\\(input_line_number)", method: "POST", url: "/v1/chat/completions"'
_OF_TEXT = (
    f'jq -Rc \'{{{_REQUEST}, body: {{model: "MODEL", messages: '
    '[{role: "user", content: .}]}}\' FILE > NEW.jsonl'
)
_OF_BODIES = f"jq -c '{{{_REQUEST}, body: .}}' FILE > NEW.jsonl"
_OF_REPR = (
    "python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]' "
    "< FILE > NEW.jsonl"
)


class Rereadable(Protocol):
    """The part of a binary file that is used here."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""

    def readline(self, size: int, /) -> bytes:
        """At most so many bytes, up to and with the next newline."""

    def seek(self, offset: int, /) -> int:
        """Go there."""


class _Beginning:
    """So much of a file as is searched."""

    def __init__(self, file: Rereadable) -> None:
        self._file = file
        self._left = _SEARCHED_BYTES_MAX

    def readline(self, size: int, /) -> bytes:
        piece = self._file.readline(min(size, self._left))
        self._left -= len(piece)
        return piece


def foreign_type(file: Rereadable, line_bytes_max: int) -> ForeignType | None:
    """What this file is instead of JSON Lines; None where it is to be read line by line.

    Leaves the file at its beginning. A file with a good line in its first 64 KiB costs no more than those.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if (found := packed(head)) is not None:
        return found
    is_array = _ARRAY.match(head) is not None
    if not is_array and any(_is_request(line.raw) for line in Lines(BytesIO(head), HEAD_BYTES)):
        return None
    found = _of_head(head)
    if found is None:
        return None
    try:
        return found if _has_no_request(file, line_bytes_max, is_array) else None
    finally:
        file.seek(0)


def _has_no_request(file: Rereadable, line_bytes_max: int, is_array: bool) -> bool:
    requests, last = 0, b""
    for line in Lines(_Beginning(file), line_bytes_max):
        requests += _is_request(line.raw)
        if requests > (1 if is_array else 0):
            return False
        last = line.raw or b""
    return requests == 0 or last.rstrip().endswith(b"]")


def _is_request(raw: bytes | None) -> bool:
    """Whether somebody meant this line as a request, be it a good one or not."""
    if raw is None or not raw.lstrip().startswith(b"{"):
        return False
    value = _parsed(raw)
    return isinstance(value, dict) and any(key in value for key in _REQUEST_KEYS)


def _of_head(head: bytes) -> ForeignType | None:
    if not head.strip():
        return None
    return next((found for look in _LOOKS if (found := look(head)) is not None), None)


def _one_byte(head: bytes) -> ForeignType | None:
    """No UTF-8, and JSON all the same when each byte is one character."""
    try:
        getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        first = head.lstrip().split(b"\n", 1)[0].decode("latin-1")
        is_json = isinstance(_parsed(first.encode()), dict) or _ARRAY.match(head) is not None
        if is_json or _spans_lines(head.decode("latin-1")):
            return ForeignType(
                "Windows-1252 or Latin-1, most likely",
                "convert it with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW.jsonl`",
            )
    return None


def _json_in_another_form(head: bytes) -> ForeignType | None:
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith(b"\x1e"):
        return ForeignType(
            "a JSON text sequence", "take its marks out with `tr -d '\\036' < FILE > NEW.jsonl`"
        )
    if _ARRAY.match(head):
        return ForeignType("one JSON array", "give each element its line with `jq -c '.[]' FILE > NEW.jsonl`")
    if b"\n" not in head and isinstance(_parsed(text.split(b"\r", 1)[0]), dict) and b"\r" in text.strip():
        return ForeignType("JSON with the line ends of old Macs", "use `tr '\\r' '\\n' < FILE > NEW.jsonl`")
    if text.startswith(b"{'"):
        return ForeignType("Python's own way to write dictionaries", f"use `{_OF_REPR}`")
    if _spans_lines(text.decode("utf-8", "replace")):
        return ForeignType(
            "JSON whose objects do not have one line each",
            "bring each on one line with `jq -c . FILE > NEW.jsonl`",
        )
    return None


def _objects_of_another_kind(head: bytes) -> ForeignType | None:
    """JSON Lines that are no requests: answers, or the bodies alone."""
    values = [_parsed(raw) for raw in _first_lines(head)]
    objects = [value for value in values if isinstance(value, dict)]
    if not objects or len(objects) < len(values):
        return None
    if all("custom_id" in value and ("response" in value or "error" in value) for value in objects):
        return ForeignType("the output of a batch", "hand in the file of its requests")
    if all("custom_id" not in value and _BODY_KEYS & value.keys() for value in objects):
        return ForeignType("bodies without their requests", f"give each its id and url with `{_OF_BODIES}`")
    return None


def _text(head: bytes) -> ForeignType | None:
    """What people write, and no JSON in it. One line alone, or one word, is a bad line, and told as one."""
    start = head.removeprefix(_BOM).lstrip()[:200].lower()
    if re.match(rb"<(!doctype html|html|head|body)\b", start):
        return ForeignType(
            "a web page", "it may be what a download said instead of the file; fetch that again"
        )
    if start.startswith(b"<?xml"):
        return ForeignType("XML", AS_REQUESTS)
    lines = list(_first_lines(head))
    if len(lines) < 2 or any(line.lstrip()[:1] in (b"{", b"[", b'"', b"}", b"]") for line in lines):
        return None
    if _is_table([line.decode("utf-8", "replace") for line in lines]):
        return ForeignType("a table (CSV or TSV)", AS_REQUESTS)
    if all(b" " not in line.strip() for line in lines):
        return None
    return ForeignType("plain text", f"to ask each line, use `{_OF_TEXT}`")


def _is_table(lines: list[str]) -> bool:
    for delimiter in ",;\t|":
        try:
            rows = [row for _, row in zip(range(2), csv.reader(lines, delimiter=delimiter), strict=False)]
        except csv.Error:
            continue
        names = rows[0]
        is_header = all(name == name.strip() and 0 < len(name) <= _COLUMN_CHARS_MAX for name in names)
        if len(names) > 1 and is_header and len(rows) > 1 and len(rows[1]) == len(names):
            return True
    return False


def _first_lines(head: bytes) -> Iterator[bytes]:
    """Those that are whole, of the head; the last one counts only where the file ends there."""
    lines = head.removeprefix(_BOM).split(b"\n")
    whole = lines if len(head) < HEAD_BYTES else lines[:-1]
    return (line for line in whole if line.strip())


def _spans_lines(text: str) -> bool:
    """Whether it begins with an object that ends on another line, or with two on one line."""
    text = text.lstrip("\ufeff \t\r\n")
    if not text.startswith("{"):
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        # Longer than the head, or no JSON: by its looks.
        return re.match(r'\{[ \t\r]*\n\s*"[^"\n]*"\s*:', text) is not None
    return "\n" in text[:end] or text[end : end + 2].lstrip(" \t,").startswith("{")


def _parsed(raw: bytes) -> Any:
    try:
        return loads(raw)
    except ValueError:
        return None


_BODY_KEYS = frozenset({"messages", "prompt", "input"})

#: An array of objects, with or without white space; the array of a line that is no request begins alike.
_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{")

#: In this order: a mark proves more than a look.
_LOOKS: tuple[Callable[[bytes], ForeignType | None], ...] = (
    encoded,
    binary,
    _one_byte,
    _json_in_another_form,
    _objects_of_another_kind,
    _text,
)
