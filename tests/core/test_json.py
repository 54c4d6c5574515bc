import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchd.core.json import NESTING_MAX, JsonFault, dumps, loads, loads_strict

#: Keys and texts that look like ends of keys, and keys that end with a backslash.
TRICKY = st.sampled_from(
    ['"', '":', '\\":', "\\", '\\\\"', ": x", ' " :', "a", "", "{", '{"a":1}', "é", "\x00"]
)
TEXTS = st.lists(TRICKY, max_size=3).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=9
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def refused(raw: bytes) -> JsonFault:
    with pytest.raises(JsonFault) as caught:
        loads_strict(raw)
    return caught.value


@settings(max_examples=50)
@given(VALUES)
def test_what_has_one_meaning_is_read_as_the_standard_library_reads_it(value: object) -> None:
    for raw in (
        dumps(value),
        json.dumps(value).encode(),
        json.dumps(value, indent=1, separators=(",", " : ")).encode(),
    ):
        assert loads_strict(raw) == loads(raw) == json.loads(raw)


@settings(max_examples=50)
@given(TEXTS, VALUES, VALUES, TEXTS)
def test_a_doubled_key_is_found_wherever_it_hides(
    key: str, first: object, second: object, other: str
) -> None:
    pair, before = dumps(key).decode(), dumps("_" + other).decode()
    inner = f"{{{before}: 1, {pair}: {dumps(first).decode()}, {pair} :{dumps(second).decode()}}}"
    for raw in (inner, f'[{{"x\\\\": {inner}}}]', f'{{"y": [": z", {inner}]}}'):
        fault = refused(raw.encode())
        assert fault.reason == f"the key '{key[:64]}' is doubled"


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\ue0d81-.', max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else_is_raised(raw: bytes) -> None:
    try:
        value = loads_strict(raw)
    except JsonFault:
        return
    assert json.loads(raw) == value


@pytest.mark.parametrize(
    ("raw", "reason", "is_syntax"),
    [
        (b"", "it is not JSON: ", True),
        (b'{"a":1', "it is not JSON: ", True),
        (b"{'a':1}", "it is not JSON: ", True),
        (b'"\t"', "it is not JSON: ", True),
        (b"1e400", "it has a number that is too large for a float", False),
        (b"\xef\xbb\xbf{}", "it begins with a byte-order mark", False),
        (b'{"a":"\xff"}', "it is not UTF-8 at byte 7", False),
        (b'"\xed\xa0\x80"', "it is not UTF-8 at byte 2", False),
        (b'{"a":NaN}', "NaN is not a number in JSON", False),
        (b"[-Infinity]", "-Infinity is not a number in JSON", False),
        (b'{"a":"\\ud800"}', "it has half of a surrogate pair, which no UTF-8 text can hold", False),
        (b'{"\\udc00":1}', "it has half of a surrogate pair, which no UTF-8 text can hold", False),
        (nested(NESTING_MAX + 2), "it is nested deeper than 200 levels", False),
        (nested(1_000), "it is nested deeper than 200 levels", False),
        (nested(100_000), "it is nested deeper than 200 levels", False),
        (b"[" * 300 + b"NaN" + b"]" * 300, "it is nested deeper than 200 levels", False),
        (b"[" * 100_000, "it is nested deeper than 200 levels", False),
        (b"18446744073709551616", "it has an integer beyond 64 bits", False),
        (b'{"a":-9223372036854775809}', "it has an integer beyond 64 bits", False),
        (b'{"a":' + b"9" * 5_000 + b"}", "it has an integer beyond 64 bits", False),
        (b'{"k":{"a":1,"b":2,"a":1}}', "the key 'a' is doubled", False),
        (b'{"' + b"k" * 99 + b'":1,"' + b"k" * 99 + b'":1}', f"the key '{'k' * 64}' is doubled", False),
        (b'{"":1,"":2}', "the key '' is doubled", False),
    ],
)
def test_each_kind_of_trouble_has_its_reason(raw: bytes, reason: str, is_syntax: bool) -> None:
    fault = refused(raw)
    assert fault.reason == str(fault)
    assert fault.reason.startswith(reason)
    assert fault.is_syntax is is_syntax


@pytest.mark.parametrize(
    "raw",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b"1e19",
        b"-1e300",
        b"18446744073709551616.0",
        b"[1e300]",
    ],
)
def test_a_number_that_keeps_its_digits_is_no_big_integer(raw: bytes) -> None:
    assert dumps(loads_strict(raw)) == dumps(json.loads(raw))


def test_the_deepest_allowed_value_can_be_written_again_inside_of_a_larger_one() -> None:
    value = loads_strict(nested(NESTING_MAX))
    assert dumps({"body": {"response_format": {"schema": [value]}}}).count(b"[") == NESTING_MAX + 1


def test_the_readable_part_leaves_out_every_doubled_key_and_nothing_else() -> None:
    assert refused(b'{"id":"x","a":1,"b":{"c":1,"c":2,"c":3,"d":4},"a":2}').readable == {
        "id": "x",
        "b": {"d": 4},
    }
    assert refused(b'{"id":"x","a":99999999999999999999}').readable == {"id": "x", "a": 0}
    assert refused(b'{"id":"x","a":"\\ud800"}').readable == {"id": "x", "a": "\ud800"}
    assert refused(b'{"id":"x","a":NaN,"a":1}').readable == {"id": "x"}
    assert refused(b'{"id":"x","a":"\\ud800","a":1}').readable == {"id": "x"}
    assert refused(b'{"id":"x","\\ud800":2,"\\ud800":1}').readable == {"id": "x"}
    assert refused(b'{"id":"x","a":[-1e999]}').readable == {"id": "x", "a": [0.0]}
    assert refused(b'{"id":"x","a":' + nested(NESTING_MAX + 1) + b"}").readable is None


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("levels", [950, 1_000, 1_024, 1_025, 100_000])
def test_the_reason_hangs_on_the_text_and_not_on_the_depth_of_our_stack(opening: bytes, levels: int) -> None:
    def deeper(frames: int) -> str:
        return deeper(frames - 1) if frames else refused(opening * levels + b"x").reason

    assert {deeper(frames) for frames in (0, 50, 300)} == {"it is nested deeper than 200 levels"}


@pytest.mark.parametrize("levels", [300, 990, 1_000, 1_020])
def test_depth_is_found_where_the_last_of_two_equal_keys_hides_it(levels: int) -> None:
    reason = "it is nested deeper than 200 levels"
    assert refused(b'{"a":' + nested(levels) + b',"a":1}').reason == reason
    assert refused(b'{"b":99999999999999999999,"a":' + nested(levels) + b',"a":1}').reason == reason


def test_brackets_in_a_string_are_no_levels() -> None:
    assert loads_strict(b'"' + b'[{\\"' * 300 + b'"') == '[{"' * 300
    assert refused(b'{"a":NaN,"b":"' + b"[" * 300 + b'"}').reason == "NaN is not a number in JSON"
    assert refused(b'["' + b"[" * 300).is_syntax
    assert refused(b"[" + b"[]," * 300).is_syntax


def test_every_reason_can_be_written() -> None:
    assert refused(b'{"\\ud800":2,"\\ud800":1}').reason == "the key '?' is doubled"
    assert dumps(refused(b'{"a\\udc00":[1,"\\ud800"],"a\\udc00":NaN}').reason)


def test_of_several_doubled_keys_the_first_is_named() -> None:
    assert refused(b'{"a":1,"a":2,"b":1,"b":2}').reason == "the key 'a' is doubled"


def test_texts_are_written_compact_and_as_they_are() -> None:
    assert dumps({"b": ["é", None, 0.5], "a": 1}) == '{"b":["é",null,0.5],"a":1}'.encode()
