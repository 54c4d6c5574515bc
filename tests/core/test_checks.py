import pytest

from batchd.core.checks import (
    Check,
    Flaw,
    foreign_key,
    integer,
    missing,
    number,
    response_format,
    shown,
    stop,
    unsupported,
    word,
    wrong_type,
    wrong_value,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def code_of(check: Check, value: object) -> str | None:
    found = check("body.x", value)
    return found.code if isinstance(found, Flaw) else None


@pytest.mark.parametrize(
    ("value", "got"), [(None, "null"), (True, "a boolean"), (1, "an integer"), (1.5, "a number")]
)
def test_a_wrong_type_is_named_in_the_words_of_json(value: object, got: str) -> None:
    flaw = wrong_type("body.x", "a string", value)
    assert flaw == (
        "invalid_type",
        f"Invalid type for 'body.x': expected a string, but got {got} instead.",
        "body.x",
    )


def test_each_flaw_has_its_code_and_its_path() -> None:
    assert wrong_value("p", "r") == ("invalid_value", "Invalid value for 'p': r.", "p")
    assert unsupported("p", "is not") == ("unsupported_parameter", "Unsupported parameter: 'p' is not.", "p")
    assert missing("p") == ("missing_required_parameter", "Missing required parameter: 'p'.", "p")


def test_a_long_text_of_a_stranger_is_cut() -> None:
    assert shown("x" * 100) == "x" * 100
    assert shown("x" * 101) == "x" * 100 + "..."


def test_a_foreign_key_that_says_nothing_is_none() -> None:
    known = frozenset({"a"})
    assert foreign_key("p", {"a": 1, "b": None, "c": []}, known) is None
    flaw = foreign_key("p", {"a": 1, "b": False}, known)
    assert flaw is not None
    assert flaw.param == "p.b"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, None),
        (2, None),
        (0.5, None),
        (-0.01, "invalid_value"),
        (2.01, "invalid_value"),
        (10**19, "invalid_value"),
        ("1", "invalid_type"),
        (True, "invalid_type"),
        ([1], "invalid_type"),
    ],
)
def test_a_number_is_within_its_range(value: object, code: str | None) -> None:
    assert code_of(number(0, 2), value) == code


def test_numbers_are_kept_as_floats() -> None:
    kept = number(0, 2)("p", 1)
    assert isinstance(kept, float)
    assert kept == 1.0


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1, None),
        (9, None),
        (0, "invalid_value"),
        (10, "invalid_value"),
        (1.0, "invalid_type"),
        (True, "invalid_type"),
    ],
)
def test_an_integer_is_within_its_range(value: object, code: str | None) -> None:
    assert code_of(integer(1, 9), value) == code


def test_a_word_is_one_of_those_known_and_the_silent_one_is_not_kept() -> None:
    check = word("float", "base64", silent="float")
    assert check("p", "base64") == "base64"
    assert check("p", "float") is None
    assert code_of(check, "FLOAT") == "invalid_value"
    assert code_of(check, 1) == "invalid_type"


@pytest.mark.parametrize(
    ("value", "kept"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([], None), (["a", "b", "c", "d"], ("a", "b", "c", "d"))],
)
def test_stop_is_kept_as_a_tuple(value: object, kept: object) -> None:
    assert stop("p", value) == kept


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "invalid_type"),
        ({"a": 1}, "invalid_type"),
        (["a", 7], "invalid_type"),
        (["a"] * 5, "invalid_value"),
        ("", "invalid_value"),
        (["a", ""], "invalid_value"),
    ],
)
def test_a_stop_that_stops_nothing_is_refused(value: object, code: str) -> None:
    assert code_of(stop, value) == code


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"type": "text"}, None),
        ({"type": "text", "json_schema": None}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "description": "d", "schema": SCHEMA},
            },
            {"type": "json_schema", "schema": SCHEMA},
        ),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, {"type": "json_schema", "schema": {}}),
    ],
)
def test_of_a_response_format_what_can_change_an_answer_is_kept(value: object, kept: object) -> None:
    assert response_format("p", value) == kept


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        ("json", "invalid_type", "body.x"),
        ({}, "missing_required_parameter", "body.x.type"),
        ({"type": 1}, "invalid_type", "body.x.type"),
        ({"type": "grammar"}, "invalid_value", "body.x.type"),
        ({"type": "json_object", "schema": SCHEMA}, "unsupported_parameter", "body.x.schema"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, "invalid_value", "body.x"),
        ({"type": "json_schema"}, "missing_required_parameter", "body.x.json_schema"),
        ({"type": "json_schema", "json_schema": []}, "invalid_type", "body.x.json_schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "n"}},
            "missing_required_parameter",
            "body.x.json_schema.schema",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": True}},
            "invalid_type",
            "body.x.json_schema.schema",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": {}, "grammar": "x"}},
            "unsupported_parameter",
            "body.x.json_schema.grammar",
        ),
    ],
)
def test_a_response_format_that_cannot_be_kept_to_is_refused(value: object, code: str, param: str) -> None:
    found = response_format("body.x", value)
    assert isinstance(found, Flaw)
    assert (found.code, found.param) == (code, param)
