"""Schemas: what is held to, where a breach is, and what is no schema."""

import pytest

from batchd.core.schema import (
    PATH_CHARS_MAX,
    REASON_CHARS_MAX,
    Breach,
    Reason,
    SchemaFault,
    path_of,
    read_schema,
    shortened,
)

RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]+$", "minLength": 3},
        "year": {"type": "integer", "minimum": 1900, "maximum": 2100, "multipleOf": 2},
        "mail": {"type": "string", "format": "email"},
        "kind": {"enum": ["a", "b"]},
        "two words": {"items": {"$ref": "#/$defs/positive"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "if": {"properties": {"kind": {"const": "b"}}, "required": ["kind"]},
    "then": {"required": ["year"]},
    "$defs": {"positive": {"exclusiveMinimum": 0}},
}


@pytest.mark.parametrize(
    ("value", "path", "keyword"),
    [
        ({"name": "anna"}, "$.name", "pattern"),
        ({"name": "Al"}, "$.name", "minLength"),
        ({"name": "Anna", "year": 1850}, "$.year", "minimum"),
        ({"name": "Anna", "year": 2200}, "$.year", "maximum"),
        ({"name": "Anna", "year": 1999}, "$.year", "multipleOf"),
        ({"name": "Anna", "year": "2000"}, "$.year", "type"),
        ({"name": "Anna", "mail": "at home"}, "$.mail", "format"),
        ({"name": "Anna", "kind": "c"}, "$.kind", "enum"),
        ({"name": "Anna", "kind": "b"}, "$", "required"),
        ({"name": "Anna", "two words": [1, 0]}, "$['two words'][1]", "exclusiveMinimum"),
        ({"name": "Anna", "more": 1}, "$", "additionalProperties"),
        ({}, "$", "required"),
        ([], "$", "type"),
    ],
)
def test_what_a_grammar_drops_is_found_with_its_path_and_its_keyword(
    value: object, path: str, keyword: str
) -> None:
    found = read_schema(RECORD).breach(value)
    assert found is not None
    assert (found.reason, found.path, found.keyword) == (Reason.SCHEMA, path, keyword)
    assert found.text
    assert not read_schema(RECORD).holds(value)


def test_what_holds_has_no_breach() -> None:
    good = {"name": "Anna", "year": 2000, "mail": "a@example.com", "kind": "b", "two words": [0.5]}
    assert read_schema(RECORD).breach(good) is None
    assert read_schema(RECORD).holds(good)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "at $.type"),
        ({"properties": {"a": {"minimum": "x"}}}, "at $.properties.a.minimum"),
        ({"pattern": "["}, '"[" is not a "regex" at $.pattern'),
        ({"pattern": "(a{1000}){1000}"}, "at $.pattern"),
        ({"$ref": "http://example.com/schema"}, "http://example.com/schema"),
        ({"$ref": "https://example.com/schema"}, "https://example.com/schema"),
        ({"$ref": "file:///etc/hostname"}, "file:///etc/hostname"),
        ({"items": {"$ref": "other.json"}}, "other.json"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"$schema": "http://example.com/dialect"}, "http://example.com/dialect"),
        ({"items": [{"type": "string"}]}, "at $.items"),  # an older draft, which it does not name
    ],
)
def test_what_is_no_schema_or_lies_elsewhere_is_refused(schema: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaFault) as refused:
        read_schema(schema)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_older_draft_that_is_named_is_read_as_such() -> None:
    schema = read_schema(
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    )
    assert schema.holds(["a", 1])
    assert not schema.holds([1])


def test_a_schema_nested_beyond_reading_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(5_000):
        deep = {"not": deep}
    with pytest.raises(SchemaFault):
        read_schema(deep)


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)+$", r"^(a|a)*$", r"^(.*a){20}$"])
def test_patterns_that_others_try_for_ever_are_linear_here(pattern: str) -> None:
    assert not read_schema({"pattern": pattern}).holds("a" * 10_000 + "!")


def test_a_pattern_that_must_go_back_does_so_a_bounded_number_of_times() -> None:
    found = read_schema({"pattern": r"^(a|a)*\1$"}).breach("a" * 60 + "!")
    assert found is not None
    assert "backtracking" in found.text


def test_a_schema_that_holds_itself_is_no_endless_loop() -> None:
    assert read_schema({"anyOf": [{"$ref": "#"}, {"type": "null"}]}).holds(None)
    tree = {"properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    chain: dict[str, object] = {"wrong": 1}
    for _ in range(100):
        chain = {"next": chain}
    assert not read_schema(tree).holds(chain)


def test_texts_of_strangers_are_shown_in_part_and_in_one_line() -> None:
    found = read_schema({"properties": {"a" * 1_000: {"const": "x\ny"}}}).breach({"a" * 1_000: "z\n" * 5_000})
    assert found is not None
    assert len(found.path) <= PATH_CHARS_MAX
    assert len(found.text) <= REASON_CHARS_MAX
    assert "\n" not in found.text


def test_a_path_is_read_as_json_paths_are() -> None:
    assert path_of([]) == "$"
    assert path_of(["a", 0, "two words", "it's"]) == "$.a[0]['two words'][\"it's\"]"


def test_a_long_text_keeps_its_ends() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10


def test_a_breach_is_told_in_one_line() -> None:
    assert "minimum" in repr(Breach(Reason.SCHEMA, "too small", "$.a", "minimum"))
    assert repr(read_schema({})) == "<Schema Draft202012Validator>"
