import pytest

from batchd.core.checks import Flaw
from batchd.core.content import INPUT_COUNT_MAX, Message, read_inputs, read_messages, read_prompt


def messages(*items: object) -> tuple[Message, ...] | Flaw:
    return read_messages({"messages": list(items)})


def said(**fields: object) -> dict[str, object]:
    return {"role": "user", "content": "hi"} | fields


def part(**fields: object) -> dict[str, object]:
    return said(content=[{"type": "text", "text": "a"} | fields])


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_plain_message_is_taken_as_it_is(role: str) -> None:
    assert messages(said(role=role), said()) == (Message(role, "hi"), Message("user", "hi"))


def test_developer_is_the_newer_word_for_system() -> None:
    assert messages(said(role="developer"), said()) == (Message("system", "hi"), Message("user", "hi"))


def test_text_parts_become_one_message_joined_by_nothing() -> None:
    parts = [{"type": "text", "text": text} for text in ("one", " two", "", "\nthree")]
    assert messages(said(content=parts)) == (Message("user", "one two\nthree"),)


def test_an_assistant_message_pasted_from_an_answer_is_fine() -> None:
    pasted = said(role="assistant", refusal=None, annotations=[], audio=None, tool_calls=None)
    assert messages(pasted, said()) == (Message("assistant", "hi"), Message("user", "hi"))


@pytest.mark.parametrize("before", [[], [said()], [said(), said(role="assistant")]])
def test_a_chat_that_ends_with_the_assistant_is_refused_by_name(before: list[object]) -> None:
    """One engine continues it, another answers it, a third refuses two of them."""
    flaw = messages(*before, said(role="assistant", content="One, two,"))
    assert isinstance(flaw, Flaw)
    assert (flaw.code, flaw.param) == ("unsupported_parameter", f"body.messages[{len(before)}].role")
    assert "end with a message of the user" in flaw.message


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("hi", "invalid_type", ""),
        ({}, "missing_required_parameter", ".role"),
        ({"content": "hi"}, "missing_required_parameter", ".role"),
        ({"role": "user"}, "missing_required_parameter", ".content"),
        (said(role=1), "invalid_type", ".role"),
        (said(role="wizard"), "invalid_value", ".role"),
        (said(role="tool"), "unsupported_parameter", ".role"),
        (said(role="function"), "unsupported_parameter", ".role"),
        (said(name="bob"), "unsupported_parameter", ".name"),
        (said(tool_call_id="x"), "unsupported_parameter", ".tool_call_id"),
        (said(tool_calls=[{}]), "unsupported_parameter", ".tool_calls"),
        (said(images=["x"]), "unsupported_parameter", ".images"),
        (said(content=None), "invalid_type", ".content"),
        (said(content=""), "invalid_value", ".content"),
        (said(content=5), "invalid_type", ".content"),
        (said(content={"type": "text", "text": "a"}), "invalid_type", ".content"),
        (said(content=[]), "invalid_value", ".content"),
        (said(content=[{"type": "text", "text": ""}]), "invalid_value", ".content"),
        (said(content=["hi"]), "invalid_type", ".content[0]"),
        (part(type=None), "missing_required_parameter", ".content[0].type"),
        (part(type=1), "invalid_type", ".content[0].type"),
        (part(type="image_url"), "unsupported_parameter", ".content[0]"),
        (part(type="input_audio"), "unsupported_parameter", ".content[0]"),
        (part(text=None), "invalid_type", ".content[0].text"),
        (part(cache_control={}), "unsupported_parameter", ".content[0].cache_control"),
    ],
)
def test_what_an_engine_would_accept_without_a_word_is_refused(
    message: object, code: str, param: str
) -> None:
    flaw = messages(said(), message)
    assert isinstance(flaw, Flaw)
    assert (flaw.code, flaw.param) == (code, f"body.messages[1]{param}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"messages": None}, "invalid_request"),
        ({"messages": []}, "invalid_value"),
        ({"messages": "hi"}, "invalid_type"),
        ({"messages": said()}, "invalid_type"),
    ],
)
def test_a_chat_needs_messages(body: dict[str, object], code: str) -> None:
    flaw = read_messages(body)
    assert isinstance(flaw, Flaw)
    assert (flaw.code, flaw.param) == (code, "body.messages")


@pytest.mark.parametrize("prompt", ["once", ["once"]])
def test_a_prompt_is_one_text(prompt: object) -> None:
    assert read_prompt({"prompt": prompt}) == "once"


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (None, "invalid_request"),
        ("", "invalid_value"),
        ([""], "invalid_value"),
        ([], "invalid_value"),
        ([None], "invalid_type"),
        (7, "invalid_type"),
        (["a", "b"], "unsupported_parameter"),
        ([1, 2], "unsupported_parameter"),
        ([1], "unsupported_parameter"),
        ([[1, 2]], "unsupported_parameter"),
    ],
)
def test_a_prompt_of_another_kind_is_refused(prompt: object, code: str) -> None:
    flaw = read_prompt({"prompt": prompt})
    assert isinstance(flaw, Flaw)
    assert (flaw.code, flaw.param) == (code, "body.prompt")


@pytest.mark.parametrize(
    ("value", "texts"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), (["x"] * INPUT_COUNT_MAX, ("x",) * INPUT_COUNT_MAX)],
)
def test_texts_to_embed_are_one_or_several(value: object, texts: tuple[str, ...]) -> None:
    assert read_inputs({"input": value}) == texts


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        (None, "invalid_request", "body.input"),
        ("", "invalid_value", "body.input"),
        (7, "invalid_type", "body.input"),
        ([], "invalid_value", "body.input"),
        (["x"] * (INPUT_COUNT_MAX + 1), "invalid_value", "body.input"),
        ([1, 2], "unsupported_parameter", "body.input"),
        ([[1], [2]], "unsupported_parameter", "body.input"),
        (["a", ""], "invalid_value", "body.input[1]"),
        (["a", None], "invalid_type", "body.input[1]"),
    ],
)
def test_input_of_another_kind_is_refused(value: object, code: str, param: str) -> None:
    flaw = read_inputs({"input": value})
    assert isinstance(flaw, Flaw)
    assert (flaw.code, flaw.param) == (code, param)
