import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.text import escaped_json, printable


@given(st.text(st.characters(), max_size=50))
def test_a_printable_text_is_one_line_of_utf8(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "character", [*map(chr, [0, 9, 10, 13, 27, 127, 0x85, 0x9B]), "\u2029", "\u2066", "\ud800"]
)
def test_an_unfit_character_is_shown_by_its_number(character: str) -> None:
    assert f"{ord(character):x}" in printable(f"a{character}b")
    assert character not in printable(f"a{character}b")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_is_left_alone(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_json_keeps_its_value_and_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = escaped_json(json.dumps([text, {text: text}], ensure_ascii=False))
    assert json.loads(shown) == [text, {text: text}]
    assert printable(shown) == shown
