"""What a server said is data: typed, bounded, and never more than one request's fault."""

from collections.abc import Callable
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import Category, ModelFault
from batchd.core.reply import (
    COUNT_MAX,
    FLOAT_MAX,
    NAME_CHARS_MAX,
    OddReply,
    count_or_none,
    guarded,
    items,
    mapping,
    seconds,
    shown,
    text,
    text_or_empty,
    vectors,
    whole,
    without_tags,
)

#: Whatever JSON can say, and what a careless reader may make of it.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def nested(levels: int) -> object:
    value: object = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [0, 1, COUNT_MAX])
def test_a_count_is_a_whole_number_up_to_its_bound(value: int) -> None:
    assert whole(value, "n") == value


@pytest.mark.parametrize(
    "value", [-1, COUNT_MAX + 1, 10**18, True, False, 1.0, nan, "5", None, [5], {"n": 5}, 10**400]
)
def test_anything_else_is_no_count(value: object) -> None:
    with pytest.raises(OddReply, match=r"^n is .*, and not a count from 0 to"):
        whole(value, "n")
    assert count_or_none(value) is None


def test_a_part_of_a_count_is_at_most_the_whole() -> None:
    assert whole(20, "cached", most=20) == 20
    with pytest.raises(OddReply, match="from 0 to 20"):
        whole(21, "cached", most=20)


@pytest.mark.parametrize(("value", "found"), [(0, 0.0), (1_500, 1.5), (250.0, 0.25)])
def test_a_duration_comes_in_its_own_unit(value: float, found: float) -> None:
    assert seconds(value, 1_000.0, "t") == found


@pytest.mark.parametrize("value", [-1, -0.1, nan, inf, -inf, True, "1", None, [1], 1e30, 10**18])
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(OddReply, match=r"^t is "):
        seconds(value, 1_000.0, "t")


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (text, "", (None, 1, ["x"], {})),
        (mapping, {}, (None, 1, [], "x")),
        (items, [], (None, 1, {}, "x")),
    ],
)
def test_a_kind_of_value_is_no_other(
    read: Callable[[object, str], object], good: object, bad: tuple[object, ...]
) -> None:
    assert read(good, "it") == good
    for value in bad:
        with pytest.raises(OddReply, match=r"^it is "):
            read(value, "it")


def test_vectors_are_as_many_as_the_inputs_and_all_of_one_length() -> None:
    assert vectors([[1, 2.5], [0.0, FLOAT_MAX]], 2) == ((1.0, 2.5), (0.0, FLOAT_MAX))


@pytest.mark.parametrize(
    ("rows", "count", "said"),
    [
        ([[0.1]], 2, "1 vectors for 2 inputs"),
        ([], 1, "0 vectors for 1 inputs"),
        ([[]], 1, "no numbers"),
        ([0.1], 1, "0.1, and not an array"),
        ([{"a": 1}], 1, "an object, and not an array"),
        ([[None, 0.1]], 1, "absent among its numbers"),
        ([["a"]], 1, "'a' among its numbers"),
        ([[True]], 1, "True among its numbers"),
        ([[nan, 0.1]], 1, "not finite"),
        ([[0.1, -inf]], 1, "not finite"),
        ([[1e39]], 1, "not finite in 32 bits"),
        ([[0.1], [0.1, 0.2]], 2, "different lengths: 1 and 2"),
    ],
)
def test_other_vectors_are_refused(rows: list[object], count: int, said: str) -> None:
    with pytest.raises(OddReply, match=said):
        vectors(rows, count)


def test_a_server_that_tells_nonsense_of_itself_has_told_nothing() -> None:
    assert [count_or_none(value) for value in (7, 0, -1, True, "7", None)] == [7, *[None] * 5]
    assert [text_or_empty(value) for value in ("a", 7, None, ["a"])] == ["a", "", "", ""]


def test_a_name_is_one_short_line_that_no_terminal_obeys() -> None:
    assert text_or_empty("0.33\n\x1b[2J") == "0.33\\x0a\\x1b[2J"
    assert len(text_or_empty("x" * 10_000)) == NAME_CHARS_MAX


@pytest.mark.parametrize(
    "error", [KeyError("k"), RecursionError(), OverflowError("o"), MemoryError(), OddReply("o")]
)
def test_the_guard_makes_a_fault_of_every_exception(error: Exception) -> None:
    def read() -> int:
        raise error

    fault = guarded(read)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)


def test_the_guard_hands_on_what_was_read() -> None:
    assert guarded(lambda: 7) == 7


@pytest.mark.parametrize("value", [nested(3_000), {"a": nested(3_000)}, "x" * 10_000, "\x1b[2J\ud800"])
def test_a_strange_value_is_shown_shortly_however_deep_or_long_it_is(value: object) -> None:
    assert len(shown(value)) < 100
    assert shown(value).isprintable()


@given(ANYTHING)
def test_no_value_breaks_a_reader_in_another_way(value: object) -> None:
    for read in (
        lambda: whole(value, "it"),
        lambda: seconds(value, 1e9, "it"),
        lambda: text(value, "it"),
        lambda: vectors(items(value, "it"), 1),
        lambda: mapping(value, "it"),
        lambda: (count_or_none(value), text_or_empty(value), shown(value)),
    ):
        found = guarded(read)
        if isinstance(found, ModelFault):
            assert "cannot be read: " in found.message
            assert not any(name in found.message for name in ("TypeError", "KeyError", "OverflowError"))


def test_the_page_of_a_gateway_is_told_as_a_sentence() -> None:
    page = "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>x</body></html>"
    assert without_tags(page) == "504 Gateway Time-out x"
    assert len(without_tags("<" * 10**6)) <= 4_096
