"""Conversation: the size of a segment, what a request reads, and what a trim lets go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.conversation import (
    SAMPLES_MAX,
    Exchange,
    Sample,
    Trim,
    exchange_tokens,
    is_turn,
    latest,
    prompt_tokens_max,
    ratio,
    sample_of,
    segment_lines,
    trim,
    with_history,
)
from batchd.core.model import Source, Usage
from batchd.core.request import Endpoint, Message, Request
from batchd.core.strategy import Habits
from batchd.core.tokens import estimate_request

SYSTEM, QUESTION = Message("system", "Judge."), Message("user", "Is it?")


def request(*messages: Message, endpoint: Endpoint = Endpoint.CHAT) -> Request:
    inputs = () if endpoint is Endpoint.CHAT else ("text",)
    return Request("a", endpoint, "m", messages, inputs, {}, 16)


def exchanges(count: int, words: int = 10) -> list[Exchange]:
    return [Exchange(at, "Why? " * words, "Yes. " * words) for at in range(count)]


def test_the_size_of_a_segment_is_the_formula_of_the_docstring() -> None:
    # (window - system prompt) / (question + answer) x margin: 97,600 / 900 = 108.4, and 0.8 of it is 86.8.
    assert segment_lines(100_000, 2_400, 900, 0.8) == 86
    assert segment_lines(100_000, 2_400, 900, 1.0) == 108


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e5), st.floats(0.01, 1, exclude_min=True))
def test_a_segment_holds_one_request_at_least_and_more_in_a_larger_window(
    window: float, system: float, exchange: float, margin: float
) -> None:
    size = segment_lines(window, system, exchange, margin)
    assert 1 <= size <= segment_lines(window + 100, system, exchange, margin)
    assert size >= segment_lines(window, system, exchange + 1, margin)


@pytest.mark.parametrize(
    ("messages", "is_one"),
    [
        ((SYSTEM, QUESTION), True),
        ((QUESTION,), True),
        ((SYSTEM, SYSTEM, QUESTION), True),
        ((SYSTEM,), False),
        ((QUESTION, QUESTION), False),
        ((SYSTEM, QUESTION, Message("assistant", "Yes.")), False),
        ((QUESTION, Message("assistant", "Yes."), QUESTION), False),
    ],
)
def test_a_turn_is_one_question_after_system_messages(messages: tuple[Message, ...], is_one: bool) -> None:
    assert is_turn(request(*messages)) is is_one


def test_what_is_no_chat_is_no_turn() -> None:
    assert not is_turn(request(endpoint=Endpoint.COMPLETIONS))
    assert not is_turn(request(endpoint=Endpoint.EMBEDDINGS))


def test_history_stands_between_the_system_messages_and_the_question() -> None:
    sent = with_history(request(SYSTEM, QUESTION), [Exchange(3, "One?", "1"), Exchange(4, "Two?", "")])
    assert sent.messages == (
        SYSTEM,
        Message("user", "One?"),
        Message("assistant", "1"),
        Message("user", "Two?"),
        Message("assistant", ""),
        QUESTION,
    )
    assert with_history(request(QUESTION), []) == request(QUESTION)


@given(st.integers(0, 6), st.text(max_size=40), st.text(max_size=40))
def test_an_exchange_adds_to_the_estimate_what_it_says_it_does(count: int, asked: str, said: str) -> None:
    plain = request(SYSTEM, QUESTION)
    added = [Exchange(at, asked, said) for at in range(count)]
    more = estimate_request(with_history(plain, added)) - estimate_request(plain)
    # Each message is rounded up by itself; in a whole request only the sum is.
    assert 0 <= sum(exchange.tokens for exchange in added) - more <= 2 * count + 1


def test_the_prompt_leaves_room_for_the_answer() -> None:
    habits = Habits()
    assert prompt_tokens_max(32_000, 50, 100, habits) == 28_000
    assert prompt_tokens_max(32_768, 50, 100, habits) == 32_768 - 4_096
    assert prompt_tokens_max(100_000, 50, 100, habits) == 87_500
    assert prompt_tokens_max(2_048, 50, 100, habits) == 1_792
    # The bound of the request itself is always kept.
    assert prompt_tokens_max(2_048, 50, 1_000, habits) == 1_048


def test_a_bound_above_the_window_does_not_cost_a_chat_what_was_said_before() -> None:
    habits = Habits()
    assert prompt_tokens_max(32_768, 500, 128_000, habits) == 32_768 - 4_096
    assert prompt_tokens_max(32_768, 500, 32_300, habits) == 32_768 - 4_096  # not even beside itself alone
    assert prompt_tokens_max(32_768, 500, 32_000, habits) == 768


def test_a_trim_comes_after_so_many_requests() -> None:
    habits = Habits(kept_exchanges=3, trim_requests=5)
    assert trim(exchanges(4), 50, 4, 10_000, 1.0, habits) is None
    assert trim(exchanges(5), 50, 5, 10_000, 1.0, habits) == Trim(3, "5 requests since the last trim")


def test_a_trim_of_what_is_kept_anyway_is_none() -> None:
    assert trim(exchanges(3), 50, 5, 10_000, 1.0, Habits(kept_exchanges=3, trim_requests=5)) is None
    assert trim([], 90_000, 0, 10_000, 1.0, Habits()) is None


def test_a_prompt_that_gets_too_long_is_trimmed_and_what_is_kept_fits() -> None:
    said = exchanges(20, words=30)
    one = said[0].tokens
    found = trim(said, 100, 3, 100 + 5 * one, 1.0, Habits(kept_exchanges=8))
    assert found is not None
    assert found.kept == 4
    assert found.cause == f"the prompt would have {100 + 20 * one} tokens, and may have {100 + 5 * one}"
    assert trim(said, 100, 3, 100 + 5 * one, 2.0, Habits(kept_exchanges=8)) == Trim(
        2, f"the prompt would have {100 + 40 * one} tokens, and may have {100 + 5 * one}"
    )


@given(
    st.integers(0, 30), st.integers(0, 5_000), st.integers(0, 60), st.integers(1, 5_000), st.integers(0, 12)
)
def test_what_is_kept_fits_where_the_request_alone_does(
    count: int, alone: int, since: int, tokens_max: int, keep: int
) -> None:
    said, habits = exchanges(count), Habits(kept_exchanges=keep)
    found = trim(said, alone, since, tokens_max, 1.0, habits)
    kept = said if found is None else said[count - found.kept :]
    assert found is None or found.kept <= min(keep, count - 1)
    if kept:
        assert alone + sum(exchange.tokens for exchange in kept) <= tokens_max


def test_what_is_measured_replaces_the_estimate() -> None:
    assert exchange_tokens((), 40) == 40
    sent = request(SYSTEM, QUESTION)
    estimated = estimate_request(sent)
    sample = sample_of(7, sent, Usage(2 * estimated, 9, 0, Source.ENGINE, None, None))
    assert (sample.at, sample.estimated, sample.counted, sample.answer) == (7, estimated, 2 * estimated, 9)
    assert ratio((sample,)) == 2.0
    assert exchange_tokens((sample,), 40) == 2 * sample.question + 9
    assert ratio(()) == 1.0


def test_the_last_places_are_measured_by_in_whatever_order_they_came() -> None:
    samples = [Sample(at, 10, 10, 5, 5) for at in reversed(range(40))]
    assert [sample.at for sample in latest(samples)] == list(range(40 - SAMPLES_MAX, 40))
