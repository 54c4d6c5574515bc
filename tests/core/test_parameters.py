import typing

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from batchd.core.checks import Flaw
from batchd.core.parameters import TABLE, TRANSLATED, Endpoint, Treatment, read_parameters

CHAT, COMPLETIONS, EMBEDDINGS = Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS

OPENAI_NAMES = {
    CHAT: typing.get_type_hints(chat_create_params.CompletionCreateParamsBase).keys(),
    COMPLETIONS: typing.get_type_hints(completion_create_params.CompletionCreateParamsBase).keys(),
    EMBEDDINGS: typing.get_type_hints(embedding_create_params.EmbeddingCreateParams).keys(),
}


def kept(endpoint: Endpoint, **body: object) -> dict[str, object]:
    reading = read_parameters(endpoint, body, 1024)
    assert not isinstance(reading, Flaw), reading
    return reading.parameters


def refused(endpoint: Endpoint, **body: object) -> tuple[str, str | None]:
    flaw = read_parameters(endpoint, body, 1024)
    assert isinstance(flaw, Flaw)
    return flaw.code, flaw.param


def bound(endpoint: Endpoint, **body: object) -> int:
    reading = read_parameters(endpoint, body, 1024)
    assert not isinstance(reading, Flaw), reading
    return reading.completion_tokens_max


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_name_in_the_table_is_one_of_the_real_packages(endpoint: Endpoint) -> None:
    names = [row.name for row in TABLE if endpoint in row.endpoints]
    assert len(names) == len(set(names))
    # The other way round may fail one day: a name that a later version adds is refused as unknown.
    assert set(names) <= OPENAI_NAMES[endpoint] | {"stream"}


def test_what_is_translated_is_checked_and_what_is_not_is_not() -> None:
    for row in TABLE:
        assert (row.check is not None) is (row.treatment in (Treatment.TRANSLATED, Treatment.BOUND)), row.name
        assert not row.defaults or row.treatment is Treatment.UNSUPPORTED, row.name


def test_the_translated_names_are_those_that_a_request_can_hold() -> None:
    names = {
        "temperature",
        "top_p",
        "seed",
        "stop",
        "frequency_penalty",
        "presence_penalty",
        "response_format",
        "reasoning_effort",
        "dimensions",
        "encoding_format",
    }
    assert names == TRANSLATED


def test_null_and_every_default_say_nothing() -> None:
    for row in TABLE:
        for endpoint in row.endpoints:
            for value in (None, *row.defaults):
                assert kept(endpoint, **{row.name: value}) == {}


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (CHAT, "temperature", 1.0),
        (CHAT, "top_p", 1.0),
        (CHAT, "seed", 0),
        (COMPLETIONS, "frequency_penalty", 0.0),
        (COMPLETIONS, "presence_penalty", 0.0),
        (CHAT, "reasoning_effort", "none"),
        (EMBEDDINGS, "dimensions", 256),
        (EMBEDDINGS, "encoding_format", "base64"),
    ],
)
def test_what_is_given_is_passed_on_even_where_it_is_openais_default(
    endpoint: Endpoint, name: str, value: object
) -> None:
    assert kept(endpoint, **{name: value}) == {name: value}


def test_unset_stays_unset() -> None:
    assert kept(CHAT) == {}


@pytest.mark.parametrize(
    "name",
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "parallel_tool_calls",
    ],
)
@pytest.mark.parametrize("value", [True, "x", {"a": 1}, 7])
def test_what_cannot_change_an_answer_is_accepted_with_any_value(name: str, value: object) -> None:
    assert kept(CHAT, **{name: value}) == {}


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (CHAT, "n", 2),
        (CHAT, "n", True),
        (CHAT, "logprobs", True),
        (CHAT, "logprobs", 0),
        (COMPLETIONS, "logprobs", 0),
        (CHAT, "top_logprobs", 3),
        (CHAT, "logit_bias", {"1": -100}),
        (CHAT, "tools", [{"type": "function"}]),
        (CHAT, "tool_choice", "required"),
        (CHAT, "functions", [{}]),
        (CHAT, "function_call", {"name": "f"}),
        (CHAT, "modalities", ["text", "audio"]),
        (CHAT, "audio", {"voice": "x"}),
        (CHAT, "prediction", {"type": "content"}),
        (CHAT, "moderation", {"model": "x"}),
        (CHAT, "verbosity", "low"),
        (CHAT, "web_search_options", {}),
        (CHAT, "stream_options", {"include_usage": True}),
        (COMPLETIONS, "best_of", 3),
        (COMPLETIONS, "echo", True),
        (COMPLETIONS, "suffix", "end"),
        (COMPLETIONS, "reasoning_effort", "low"),
        (COMPLETIONS, "max_completion_tokens", 5),
        (EMBEDDINGS, "temperature", 0.5),
        (EMBEDDINGS, "max_tokens", 5),
        (EMBEDDINGS, "messages", []),
        (CHAT, "num_ctx", 4096),
        (CHAT, "Temperature", 0.5),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    endpoint: Endpoint, name: str, value: object
) -> None:
    assert refused(endpoint, **{name: value}) == ("unsupported_parameter", f"body.{name}")


def test_an_unknown_name_of_any_length_gives_a_short_message() -> None:
    flaw = read_parameters(CHAT, {"x" * 100_000: 1}, 1024)
    assert isinstance(flaw, Flaw)
    assert len(flaw.message) < 300


@pytest.mark.parametrize(
    ("endpoint", "name", "value", "code"),
    [
        (CHAT, "temperature", 2.1, "invalid_value"),
        (CHAT, "top_p", 1.1, "invalid_value"),
        (CHAT, "seed", 2**63, "invalid_value"),
        (CHAT, "seed", 1.0, "invalid_type"),
        (CHAT, "frequency_penalty", -2.1, "invalid_value"),
        (CHAT, "presence_penalty", "high", "invalid_type"),
        (CHAT, "reasoning_effort", "hard", "invalid_value"),
        (CHAT, "max_completion_tokens", 0, "invalid_value"),
        (CHAT, "max_tokens", -1, "invalid_value"),
        (CHAT, "max_tokens", 16.0, "invalid_type"),
        (CHAT, "max_tokens", 2**31, "invalid_value"),
        (EMBEDDINGS, "dimensions", 0, "invalid_value"),
        (EMBEDDINGS, "encoding_format", "hex", "invalid_value"),
    ],
)
def test_a_translated_value_out_of_its_range_is_refused(
    endpoint: Endpoint, name: str, value: object, code: str
) -> None:
    assert refused(endpoint, **{name: value}) == (code, f"body.{name}")


def test_the_newer_bound_goes_before_the_older_and_the_default_comes_last() -> None:
    assert bound(CHAT) == 1024
    assert bound(CHAT, max_tokens=7) == 7
    assert bound(CHAT, max_completion_tokens=8) == 8
    assert bound(CHAT, max_completion_tokens=8, max_tokens=8) == 8
    assert bound(CHAT, max_completion_tokens=8, max_tokens=None) == 8
    assert bound(COMPLETIONS, max_tokens=9) == 9
    assert bound(EMBEDDINGS) == 0


def test_two_bounds_that_differ_are_refused() -> None:
    assert refused(CHAT, max_completion_tokens=8, max_tokens=9) == ("invalid_value", "body.max_tokens")


def test_the_bound_is_no_parameter_of_the_request() -> None:
    assert kept(CHAT, max_completion_tokens=8, temperature=0) == {"temperature": 0.0}
