from hypothesis import given
from hypothesis import strategies as st

from batchd.core.request import Endpoint, Message, Request
from batchd.core.tokens import Ratio, estimate, estimate_request


def request(endpoint: Endpoint, messages: tuple[Message, ...] = (), inputs: tuple[str, ...] = ()) -> Request:
    return Request("a", endpoint, "m", messages, inputs, {}, 0)


def test_the_measured_rubric_fits_and_wastes_less_than_half() -> None:
    assert 2_092 <= estimate(8_681, 1) <= 1.5 * 2_092


def test_the_measured_request_fits_with_its_template() -> None:
    # The rubric and a record of 129 bytes, as two messages: 2,146 tokens of SmolLM2, with its template.
    assert 2_146 <= estimate(8_681 + 129, 2) <= 1.5 * 2_146


def test_a_short_message_counts_what_the_template_adds() -> None:
    assert estimate(0, 1) >= 32 + 8


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 100), st.integers(1, 100))
def test_more_text_and_more_messages_never_count_less(first: int, more: int, count: int, added: int) -> None:
    assert estimate(first, count) <= estimate(first + more, count) < estimate(first + more, count + added)
    assert estimate(first, 0) < estimate(first, 1)


def test_a_chat_counts_the_bytes_of_all_its_messages() -> None:
    chat = request(Endpoint.CHAT, (Message("system", "äöü"), Message("user", "x")))
    assert estimate_request(chat) == estimate(7, 2)


def test_a_completion_has_no_template() -> None:
    assert estimate_request(request(Endpoint.COMPLETIONS, inputs=("x" * 30,))) == estimate(30, 0) == 11


def test_texts_to_embed_are_in_the_slot_one_after_another() -> None:
    assert estimate_request(request(Endpoint.EMBEDDINGS, inputs=("x", "é" * 30, "y"))) == estimate(60, 0)


def test_a_ratio_is_the_largest_of_what_was_counted_of_late() -> None:
    ratio = Ratio()
    for _ in range(7):
        ratio.note(100, 70)
    assert ratio.tokens(1_000) is None
    ratio.note(100, 80)
    assert ratio.tokens(1_000) == 800
    for _ in range(64):
        ratio.note(100, 70)
    assert ratio.tokens(1_000) == 700
    assert repr(ratio) == "Ratio(64 counts, at most 0.70)"


def test_a_request_that_was_too_long_is_not_forgotten() -> None:
    ratio = Ratio()
    ratio.note_overflow(100, 150)
    assert ratio.tokens(1_000) == 1_500
    for _ in range(99):
        ratio.note(100, 70)
    assert ratio.tokens(1_000) == 1_500


def test_counts_of_nothing_make_no_ratio() -> None:
    ratio = Ratio()
    for _ in range(8):
        ratio.note(0, 5)
        ratio.note(5, 0)
        ratio.note_overflow(0, 5)
    assert ratio.tokens(100) is None
