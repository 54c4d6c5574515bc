import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import TOLD_CHARS_MAX, Category, ModelFault
from batchd.core.masking import _COMMON, MASK, masked
from batchd.core.request import Endpoint, Message, Request

SECRET = "Zebulon Pike, card 4929-1234, password hunter2"


def asking(text: str, **parameters: object) -> Request:
    return Request("a", Endpoint.CHAT, "m", (Message("user", text),), (), parameters, 8)


def test_the_prompts_own_words_are_struck_out_and_those_of_errors_stay() -> None:
    said = masked(f"invalid format: cannot parse input '{SECRET}' (400)", asking(SECRET))
    assert (
        said
        == f"invalid format: cannot parse input '{MASK} {MASK}, {MASK} {MASK}-{MASK}, {MASK} {MASK}' (400)"
    )


@pytest.mark.parametrize(
    "quoted",
    [
        "ZEBULON pike 4929",
        "xZebulonx",
        "Zebu",
        "\\u005aebulon",
        "\\nZebulon\\tPike",
        "hunter2hunter2",
        "Zebulon_Pike",
    ],
)
def test_they_are_found_in_other_forms_and_glued_to_other_words(quoted: str) -> None:
    said = masked(f"bad input: {quoted}", asking(SECRET)).casefold()
    assert not any(word in said for word in ("zebu", "pike", "ebulon", "4929", "hunter"))


def test_a_script_without_spaces_is_found_in_pieces() -> None:
    said = masked("error: 错误秘密文件内容", asking("这是秘密文件"))
    assert said == f"error: {MASK}"


def test_a_schema_and_the_inputs_of_embeddings_are_the_requests_too() -> None:
    form = {"type": "json_schema", "schema": {"properties": {"Zebulon": {"type": "string"}}}}
    assert "Zebulon" not in masked("property Zebulon is bad", asking("x", response_format=form))
    embed = Request("a", Endpoint.EMBEDDINGS, "m", (), ("one", "Zebulon"), {}, 0)
    assert masked("cannot embed Zebulon", embed) == f"cannot embed {MASK}"


def test_what_has_nothing_of_the_prompt_stays_as_it_is() -> None:
    said = "llama-server process has terminated: exit status 2: CUDA error: out of memory (0x7f12)"
    assert masked(said, asking("Say hi, out of memory of the model.")) == said


def test_three_letters_or_digits_are_a_word_only_where_they_stand_alone() -> None:
    said = "The gateway before the model server answered 504: xyz"
    assert masked(said, asking("GW504, a15040, wxyz")) == said
    assert (
        masked(said, asking("room 504, xyz"))
        == f"The gateway before the model server answered {MASK}: {MASK}"
    )


def test_only_the_beginning_is_told() -> None:
    assert len(masked("x. " * 10_000, asking("hi"))) == TOLD_CHARS_MAX
    assert len(masked("abc " * 10_000, asking("abc"))) <= TOLD_CHARS_MAX
    fault = ModelFault(Category.SERVER, "y" * 1_000, is_temporary=True)
    assert fault.told == "y" * TOLD_CHARS_MAX


@given(st.text(min_size=3, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_word_of_a_prompt_comes_through(prompt: str, before: str, after: str) -> None:
    said = masked(f"{before} {prompt} {after}", asking(prompt))
    words = {word for word in prompt.split() if word.isalnum() and len(word) >= 7 and word.isascii()}
    # What errors are made of stays, and so does what stands beside the prompt.
    told = _COMMON | {before.casefold() + after.casefold()}
    assert not any(word in said for word in words if not any(word.casefold() in text for text in told))
