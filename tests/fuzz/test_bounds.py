"""Giants: time and memory are linear in a line, and a line over the limit is never held.

SUMMARY
    Each form here is one that makes some reader slow or large. At half a mebibyte what is quadratic takes
    minutes, so the time limit of every test is the proof that nothing here is.

DIAGNOSTICS
    None: tests.
"""

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd.core.fault import LineFault
from batchd.core.lines import Line, Lines
from batchd.core.options import parse_options
from batchd.core.request import LineLimits, parse_line
from batchd.core.sieve import MODELS_MAX, Sieve
from batchd.core.survey import Survey

SIZE = 2**19

#: Of the length of a line: orjson's own reader takes 12, the worst value 24 (an empty object in three bytes).
PEAK_RATIO_MAX = 40

#: Beyond the piece that is read: a copy, and what the tests themselves hold.
HELD_RATIO_MAX = 3

CHAT = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":'


def fill(piece: bytes, size: int = SIZE) -> bytes:
    return piece * (size // len(piece))


def user(text: bytes) -> bytes:
    return CHAT + b'[{"role":"user","content":"' + text + b'"}]}}'


def peak_of(act: Callable[[], object]) -> int:
    act()  # what is made once and kept is not counted
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


#: What it is, and the code it has ("" for a request).
GIANTS: dict[str, tuple[bytes, str]] = {
    "one text": (user(fill(b"x")), ""),
    "a text that needs four bytes for each letter": (user("\U0001f600".encode() + fill(b"x")), ""),
    "a text of line separators": (user(fill("\u2028".encode())), ""),
    "what looks like ends of keys": (user(fill(rb"\":")), ""),
    "what looks like ends of keys with blanks": (user(fill(rb"\" :")), ""),
    "blanks after a quote": (user(rb"\"" + fill(b" ")), ""),
    "quotes with blanks between": (user(fill(b'\\"' + b" " * 1_000)), ""),
    "backslashes": (user(fill(rb"\\")), ""),
    "a key that ends with a backslash": (
        b'{"a\\\\":1,"x":"' + fill(rb"\":") + b'"}',
        "missing_required_parameter",
    ),
    "messages": (
        CHAT + b"[" + fill(b'{"role":"user","content":"x"},') + b'{"role":"user","content":"x"}]}}',
        "",
    ),
    "arrays": (b"[" + fill(b"[],") + b"[]]", "invalid_json_line"),
    "objects": (b'{"body":[' + fill(b"{},") + b"{}]}", "missing_required_parameter"),
    "numbers": (b'{"body":[' + fill(b"1e3,") + b"1]}", "missing_required_parameter"),
    "floats that may be integers": (b'{"body":[' + fill(b"1e19,") + b"1]}", "missing_required_parameter"),
    "doubled keys": (b'{"custom_id":"a","b":{' + fill(b'"a":1,') + b'"a":2}}', "invalid_json_line"),
    "doubled keys in objects": (b'{"b":[' + fill(b'{"a":1,"a":1},') + b"1]}", "invalid_json_line"),
    "many keys": (
        b"{" + b",".join(b'"%d":1' % key for key in range(SIZE // 12)) + b"}",
        "missing_required_parameter",
    ),
    "a parameter without end": (
        CHAT + b'[{"role":"user","content":"x"}],"' + fill(b"k") + b'":1}}',
        "unsupported_parameter",
    ),
    "a model without end": (user(b"x").replace(b'"m"', b'"' + fill(b"m") + b'"'), "invalid_value"),
    "a role without end": (user(b"x").replace(b'"user"', b'"' + fill(b"u") + b'"'), "invalid_value"),
    "a url without end": (user(b"x").replace(b"/v1", fill(b"/v1")), "invalid_url"),
    "a custom_id without end": (user(b"x").replace(b'"a"', b'"' + fill(b"a") + b'"'), ""),
    "an integer without end": (b'{"custom_id":"a","b":' + fill(b"9") + b"}", "invalid_json_line"),
    "a fraction without end": (b'{"b":0.' + fill(b"9") + b"}", "missing_required_parameter"),
    "a fraction of zeros": (b'{"b":0.' + fill(b"0") + b"1}", "missing_required_parameter"),
    "an integer with an exponent": (b'{"b":1' + fill(b"9") + b"e-%d}" % SIZE, "missing_required_parameter"),
    "an exponent without end": (b'{"b":1e' + fill(b"9") + b"}", "invalid_json_line"),
    "open arrays": (fill(b"["), "invalid_json_line"),
    "open objects": (fill(b'{"a":'), "invalid_json_line"),
    "open strings": (fill(rb"\""), "invalid_json_line"),
    "an open string of escapes": (b'{"a":"' + fill(rb"\""), "invalid_json_line"),
    "brackets, and an end that is missing": (b"[" + fill(b"[],"), "invalid_json_line"),
    "halves of surrogate pairs": (user(fill(rb"\ud800")), "invalid_json_line"),
    "constants": (b"[" + fill(b"NaN,") + b"1]", "invalid_json_line"),
    "zeros": (bytes(SIZE), "invalid_json_line"),
    "what is not UTF-8": (b'{"a":"' + fill(b"\xff") + b'"}', "invalid_json_line"),
}


@pytest.mark.parametrize("name", GIANTS)
def test_a_giant_has_its_outcome_in_linear_memory(name: str) -> None:
    raw, code = GIANTS[name]
    outcome = parse_line(raw, 1, LineLimits(), None)
    assert (outcome.code if isinstance(outcome, LineFault) else "") == code
    assert peak_of(lambda: parse_line(raw, 1, LineLimits(), None)) < PEAK_RATIO_MAX * len(raw)


@pytest.mark.parametrize("name", GIANTS)
def test_a_giant_among_the_options_is_refused(name: str) -> None:
    options, refusals = parse_options(GIANTS[name][0])
    assert options.batch_id is None
    assert 1 <= len(refusals) <= 21
    assert sum(len(refusal.message) for refusal in refusals) < 5_000


@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n"])
def test_a_line_of_64_mib_is_read_past_and_the_next_one_is_read(tmp_path: Path, last: bytes) -> None:
    path, limits = tmp_path / "vast.jsonl", LineLimits()
    with path.open("wb") as file:
        file.write(user(b"x") + b"\n")
        file.seek(64 * 2**20, io.SEEK_CUR)  # a hole: zeros that take no room
        file.write(b"end\n" + user(b"x").replace(b'"a"', b'"b"') + last)

    def codes() -> list[str | None]:
        with path.open("rb") as file, path.open("rb") as again:
            faults = Survey(file, again, limits, is_strict=False, options_raw=None)
            return [None if fault is None else fault.code for fault in faults]

    assert codes() == [None, "line_too_long", None]
    assert peak_of(codes) < HELD_RATIO_MAX * limits.line_bytes_max


def test_a_batch_does_not_hold_a_model_for_each_line() -> None:
    sieve = Sieve(LineLimits(), is_strict=False)
    codes = []
    for number in range(MODELS_MAX + 2):
        raw = user(b"x").replace(b'"m"', b'"m%d"' % (number % (MODELS_MAX + 1)))
        outcome = sieve.sort(Line(number + 1, 0, len(raw), raw))
        codes.append(outcome.code if isinstance(outcome, LineFault) else "")
    # The one too many is refused, also the second time; those that are known are not.
    assert codes == [""] * MODELS_MAX + ["mismatched_model", ""]


def test_a_file_of_blanks_is_no_line() -> None:
    for content in (b"\n" * 300_000, b" " * 300_000, b"\r\n" * 100_000, b"\xef\xbb\xbf", b"\t\n\x0c"):
        lines = Lines(io.BytesIO(content), LineLimits().line_bytes_max)
        assert list(lines) == []
        assert lines.read_bytes == len(content)
