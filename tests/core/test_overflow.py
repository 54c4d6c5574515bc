"""What a window left for an answer, and what a request is told that none can hold."""

from dataclasses import replace

import pytest

from batchd.core.fault import Category
from batchd.core.model import Load, Loaded
from batchd.core.overflow import (
    CODE,
    GIVEN,
    MEMORY,
    MODEL,
    SERVER,
    SETTING,
    Limit,
    cut_by_window,
    limits_of,
    refusal,
    room_left,
)
from batchd.core.request import Endpoint, Request
from tests.fakes.scripted_model import answer, crash, loaded, overflow

LOAD = Load("m", 8_192, 2)


def request(bound: int) -> Request:
    return Request("a", Endpoint.CHAT, "m", (), (), {}, bound)


def limits(server: Loaded, asked: int = 8_192, setting: int = 8_192) -> list[Limit]:
    return limits_of(server, asked, setting)


@pytest.mark.parametrize(
    ("prompt", "completion", "finish", "is_cut"),
    [
        (8_000, 192, "length", True),
        (8_000, 170, "length", True),
        (8_000, 150, "length", False),
        (8_000, 192, "stop", False),
        (7_000, 1_000, "length", False),
    ],
)
def test_an_answer_is_cut_by_the_window_only_at_its_end_and_below_its_bound(
    prompt: int, completion: int, finish: str, is_cut: bool
) -> None:
    fault = cut_by_window(answer("x", prompt, completion, finish), request(1_000), loaded(LOAD))
    assert (fault is not None) is is_cut
    if fault is not None:
        assert (fault.prompt_tokens, fault.window_tokens, fault.code) == (prompt, 8_192, CODE)


@pytest.mark.parametrize(
    ("bound", "setting", "left"),
    [
        (7_192, 8_192, None),  # just fits
        (7_193, 8_192, 7_192),
        (128_000, 8_192, 7_192),
        (128_000, 32_768, None),  # a larger window is allowed: an answer that needs it gets it
    ],
)
def test_a_bound_is_lowered_where_no_window_holds_it(bound: int, setting: int, left: int | None) -> None:
    server = loaded(LOAD)
    assert room_left(request(bound), answer("x", 1_000, 5), server, limits(server, 8_192, setting)) == left


def test_a_bound_is_lowered_too_by_what_memory_model_or_server_give() -> None:
    told = answer("x", 1_000, 5)
    for server in (
        replace(loaded(LOAD), memory_window_tokens_max=8_192),
        loaded(LOAD, 8_192),
        loaded(LOAD),  # asked for more, and gave this
    ):
        assert room_left(request(20_000), told, server, limits(server, 32_768, 32_768)) == 7_192


def test_an_embedding_has_no_bound_to_lower() -> None:
    server = loaded(LOAD)
    assert room_left(request(0), answer("", 8_192, 0), server, limits(server)) is None


@pytest.mark.parametrize(
    ("server", "asked", "setting", "prompt", "expected"),
    [
        (loaded(LOAD), 8_192, 8_192, 9_000, SETTING),
        (loaded(LOAD, 8_192), 8_192, 8_192, 9_000, MODEL),  # a larger setting would not help
        (loaded(LOAD, 8_192), 32_768, 32_768, 40_000, MODEL),
        (loaded(LOAD, 131_072), 8_192, 8_192, 9_000, SETTING),
        (replace(loaded(LOAD, 8_192), is_window_fixed=True), 8_192, 32_768, 9_000, SERVER),
        (loaded(LOAD, 131_072), 16_384, 32_768, 9_000, GIVEN),
        (replace(loaded(LOAD, 131_072), memory_window_tokens_max=8_192), 32_768, 32_768, 9_000, MEMORY),
        # More memory would not help these: the setting refuses the one, the model the other.
        (replace(loaded(LOAD, 131_072), memory_window_tokens_max=8_192), 32_768, 32_768, 40_000, SETTING),
        (replace(loaded(LOAD, 16_384), memory_window_tokens_max=8_192), 32_768, 32_768, 40_000, MODEL),
        # The answer ran to the end of what memory gave.
        (replace(loaded(LOAD, 16_384), memory_window_tokens_max=8_192), 32_768, 32_768, 1_000, MEMORY),
    ],
)
def test_the_limit_that_is_named_is_the_one_that_binds(
    server: Loaded, asked: int, setting: int, prompt: int, expected: str
) -> None:
    fault = refusal(overflow(prompt, 8_192), request(128_000), server, limits(server, asked, setting))
    assert fault.message.endswith(f"It is bounded by {expected}.")
    assert fault.code == CODE
    assert fault.category is (Category.OOM if expected == MEMORY else Category.CONTEXT_LENGTH)


def test_a_refusal_has_prompt_bound_and_window() -> None:
    server = loaded(LOAD)
    hopeless = refusal(overflow(9_000, 1_024), request(128_000), server, limits(server)).message
    assert hopeless.startswith(
        "This model's maximum context length is 8192 tokens. However, you requested 137000 tokens (9000 in "
        "the messages, 128000 in the completion: max_tokens), and nothing is left for an answer."
    )
    cut = refusal(overflow(8_000, 8_192), request(128_000), server, limits(server)).message
    assert "and the answer went on beyond the 192 that are left for it." in cut
    embedding = refusal(overflow(9_000, 8_192), request(0), server, limits(server)).message
    assert "However, you requested 9000 tokens. It is bounded by" in embedding


def test_an_engine_without_numbers_is_quoted_with_the_window_that_there_was() -> None:
    server = loaded(LOAD)
    silent = replace(overflow(1, 1), prompt_tokens=None, window_tokens=None, message="Too long.")
    told = refusal(silent, request(16), server, limits(server)).message
    assert told == f"Too long. The largest window has 8192 tokens. It is bounded by {SETTING}."


def test_other_faults_are_as_they_were() -> None:
    server = loaded(LOAD)
    assert refusal(crash(), request(16), server, limits(server)) == crash()
