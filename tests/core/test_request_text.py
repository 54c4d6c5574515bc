from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fault import LineFault
from batchd.core.request import (
    Endpoint,
    Message,
    Request,
    canonical_head,
    canonical_text,
    duplicate_custom_id,
    mismatched_model,
)

COMPLETION = Request("a", Endpoint.COMPLETIONS, "m", (), ("Once",), {}, 1)
EMBEDDING = Request("a", Endpoint.EMBEDDINGS, "m", (), ("a", "b"), {}, 0)


def asked(*said: tuple[str, str], **parameters: object) -> Request:
    messages = tuple(Message(role, text) for role, text in said)
    return Request("a", Endpoint.CHAT, "m", messages, (), parameters, 1)


def test_the_head_is_the_text_before_the_last_message() -> None:
    first = asked(("system", "S"), ("user", "one"))
    second = asked(("system", "S"), ("user", "two"))
    assert canonical_head(first) == canonical_head(second) != b""
    assert canonical_text(first) != canonical_text(second)


def test_what_has_nothing_before_its_last_message_has_no_head() -> None:
    assert canonical_head(asked(("user", "one"))) == b""
    assert canonical_head(COMPLETION) == canonical_head(EMBEDDING) == b""
    assert canonical_head(asked(("user", "one"), reasoning_effort="low")) == b""


def test_the_same_letters_in_other_messages_are_another_text() -> None:
    texts = [
        asked(("system", "ab"), ("user", "c")),
        asked(("system", "a"), ("user", "bc")),
        asked(("system", "abc"), ("user", "")),
        asked(("system", "ab"), ("assistant", "c")),
        asked(("user", "ab"), ("user", "c")),
        asked(("system", "ab"), ("user", "c"), reasoning_effort="low"),
        asked(("system", "ab"), ("user", "c"), reasoning_effort="high"),
    ]
    assert len({canonical_text(request) for request in texts}) == len(texts)


def test_texts_to_embed_are_kept_apart() -> None:
    request = EMBEDDING
    assert canonical_text(request) != canonical_text(replace(request, inputs=("ab",)))
    assert canonical_text(COMPLETION) == b"Once\xff"


ROLES = st.sampled_from(["system", "user", "assistant"])
CHATS = st.lists(st.tuples(ROLES, st.text(max_size=5)), min_size=1, max_size=4)


@given(CHATS, CHATS)
def test_two_chats_have_one_text_only_if_they_are_one(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    one, other = asked(*first), asked(*second)
    assert (canonical_text(one) == canonical_text(other)) is (first == second)
    assert canonical_text(one).startswith(canonical_head(one))
    longer = asked(*first, *second)
    assert canonical_text(longer).startswith(canonical_text(one))


def test_a_duplicate_is_told_in_openais_words() -> None:
    assert duplicate_custom_id(3, "x") == LineFault(
        3,
        "duplicate_custom_id",
        "The custom_id 'x' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch.",
        "custom_id",
        "x",
    )


def test_another_model_is_told_in_openais_words() -> None:
    fault = mismatched_model(3, "x", "llama")
    assert (fault.code, fault.param, fault.custom_id) == ("mismatched_model", "body.model", "x")
    assert fault.message == (
        "The model 'llama' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
