"""Parameters: one table of everything that a request body may say, and what becomes of it.

SUMMARY
    A row is one name on one or more endpoints. What becomes of it:

    field        a part of the request itself, read by `core/request` and `core/content`
    bound        the answer's bound in tokens
    translated   checked here, kept in `Request.parameters`, put into the engine's words by the engine's edge
    ignored      cannot change an answer: accepted with any value
    unsupported  would change the answer: refused with any value that says something

    A name that no row has is refused as well. `null`, and a value among the row's `defaults`, says nothing
    and is never an error. What is translated and given is passed on even where it equals OpenAI's default,
    because a local model brings its own sampling: `temperature: 1` is an order there. Unset stays unset.

    Neutral names are OpenAI's. The values kept are: numbers as float (temperature, top_p, frequency_penalty,
    presence_penalty) or int (seed, dimensions), stop as a tuple of strings, reasoning_effort and
    encoding_format as their word, response_format as `{"type": "json_object"}` or
    `{"type": "json_schema", "schema": {...}}`.

DIAGNOSTICS
    None raised: a bad value is a `Flaw`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from batchd.core.checks import (
    Check,
    Flaw,
    integer,
    number,
    response_format,
    shown,
    stop,
    unsupported,
    word,
    wrong_value,
)


class Endpoint(StrEnum):
    """The urls that batchd answers."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"


class Treatment(StrEnum):
    """What becomes of a parameter."""

    FIELD = "field"
    BOUND = "bound"
    TRANSLATED = "translated"
    IGNORED = "ignored"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. `defaults` are the values besides null that say nothing."""

    name: str
    treatment: Treatment
    endpoints: frozenset[Endpoint]
    defaults: tuple[object, ...] = ()
    check: Check | None = None


_CHAT = frozenset({Endpoint.CHAT})
_COMPLETIONS = frozenset({Endpoint.COMPLETIONS})
_EMBEDDINGS = frozenset({Endpoint.EMBEDDINGS})
_TEXT = _CHAT | _COMPLETIONS
_ALL = _TEXT | _EMBEDDINGS

_FIELD = Treatment.FIELD
_BOUND = Treatment.BOUND
_TRANSLATED = Treatment.TRANSLATED
_IGNORED = Treatment.IGNORED
_UNSUPPORTED = Treatment.UNSUPPORTED

#: More than any window; the fit says which window it would need.
_BOUND_CHECK = integer(1, 2**31 - 1)

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

TABLE: tuple[Parameter, ...] = (
    Parameter("model", _FIELD, _ALL),
    Parameter("stream", _FIELD, _ALL),
    Parameter("messages", _FIELD, _CHAT),
    Parameter("prompt", _FIELD, _COMPLETIONS),
    Parameter("input", _FIELD, _EMBEDDINGS),
    Parameter("max_completion_tokens", _BOUND, _CHAT, check=_BOUND_CHECK),
    Parameter("max_tokens", _BOUND, _TEXT, check=_BOUND_CHECK),
    Parameter("temperature", _TRANSLATED, _TEXT, check=number(0, 2)),
    Parameter("top_p", _TRANSLATED, _TEXT, check=number(0, 1)),
    Parameter("seed", _TRANSLATED, _TEXT, check=integer(-(2**63), 2**63 - 1)),
    Parameter("stop", _TRANSLATED, _TEXT, check=stop),
    Parameter("frequency_penalty", _TRANSLATED, _TEXT, check=number(-2, 2)),
    Parameter("presence_penalty", _TRANSLATED, _TEXT, check=number(-2, 2)),
    Parameter("response_format", _TRANSLATED, _CHAT, check=response_format),
    Parameter("reasoning_effort", _TRANSLATED, _CHAT, check=word(*_EFFORTS)),
    Parameter("dimensions", _TRANSLATED, _EMBEDDINGS, check=integer(1, 2**31 - 1)),
    Parameter("encoding_format", _TRANSLATED, _EMBEDDINGS, check=word("float", "base64", silent="float")),
    Parameter("user", _IGNORED, _ALL),
    Parameter("metadata", _IGNORED, _CHAT),
    Parameter("store", _IGNORED, _CHAT),
    Parameter("service_tier", _IGNORED, _CHAT),
    Parameter("prompt_cache_key", _IGNORED, _CHAT),
    Parameter("prompt_cache_options", _IGNORED, _CHAT),
    Parameter("prompt_cache_retention", _IGNORED, _CHAT),
    Parameter("safety_identifier", _IGNORED, _CHAT),
    Parameter("parallel_tool_calls", _IGNORED, _CHAT),  # without tools it has no meaning
    Parameter("n", _UNSUPPORTED, _TEXT, (1,)),
    Parameter("logit_bias", _UNSUPPORTED, _TEXT, ({},)),
    Parameter("stream_options", _UNSUPPORTED, _TEXT),
    Parameter("logprobs", _UNSUPPORTED, _CHAT, (False,)),
    Parameter("logprobs", _UNSUPPORTED, _COMPLETIONS),  # 0 asks for the chosen token's
    Parameter("top_logprobs", _UNSUPPORTED, _CHAT, (0,)),
    Parameter("tools", _UNSUPPORTED, _CHAT, ([],)),
    Parameter("tool_choice", _UNSUPPORTED, _CHAT, ("none", "auto")),
    Parameter("functions", _UNSUPPORTED, _CHAT, ([],)),
    Parameter("function_call", _UNSUPPORTED, _CHAT, ("none", "auto")),
    Parameter("modalities", _UNSUPPORTED, _CHAT, (["text"],)),
    Parameter("audio", _UNSUPPORTED, _CHAT),
    Parameter("prediction", _UNSUPPORTED, _CHAT),
    Parameter("moderation", _UNSUPPORTED, _CHAT),
    Parameter("verbosity", _UNSUPPORTED, _CHAT, ("medium",)),
    Parameter("web_search_options", _UNSUPPORTED, _CHAT),
    Parameter("best_of", _UNSUPPORTED, _COMPLETIONS, (1,)),
    Parameter("echo", _UNSUPPORTED, _COMPLETIONS, (False,)),
    Parameter("suffix", _UNSUPPORTED, _COMPLETIONS, ("",)),
)

#: The neutral names that can be in `Request.parameters`. An engine's edge declares those it can say;
#: `encoding_format` asks nothing of it, since vectors come as floats and `core/result` writes them.
TRANSLATED: frozenset[str] = frozenset(row.name for row in TABLE if row.treatment is _TRANSLATED)

_ROWS: dict[Endpoint, dict[str, Parameter]] = {
    endpoint: {row.name: row for row in TABLE if endpoint in row.endpoints} for endpoint in Endpoint
}


class Reading(NamedTuple):
    """What a body asks: the translated parameters, and the bound of the answer (0 for embeddings)."""

    parameters: dict[str, object]
    completion_tokens_max: int


def read_parameters(endpoint: Endpoint, body: Mapping[str, object], tokens_default: int) -> Reading | Flaw:
    """Everything in the body that is not a field of the request, checked."""
    rows = _ROWS[endpoint]
    parameters: dict[str, object] = {}
    for name, value in body.items():
        if value is None:
            continue
        row = rows.get(name)
        if row is None:
            return unsupported(f"body.{shown(name)}", f"is not known to batchd for {endpoint}")
        if row.check is not None:
            kept = row.check(f"body.{name}", value)
            if isinstance(kept, Flaw):
                return kept
            if kept is not None:
                parameters[name] = kept
        elif row.treatment is _UNSUPPORTED and not _says_nothing(row, value):
            return unsupported(f"body.{name}", "is not supported by batchd with this value")
    bound = _bound(parameters, tokens_default)
    if isinstance(bound, Flaw):
        return bound
    return Reading(parameters, 0 if endpoint is Endpoint.EMBEDDINGS else bound)


def _says_nothing(row: Parameter, value: object) -> bool:
    """Equal to a default, and of its type: in Python `True == 1`, in JSON not."""
    return any(type(value) is type(default) and value == default for default in row.defaults)


def _bound(parameters: dict[str, object], tokens_default: int) -> int | Flaw:
    """Takes the two names of the bound out of the parameters."""
    newer = parameters.pop("max_completion_tokens", None)
    older = parameters.pop("max_tokens", None)
    if isinstance(newer, int) and isinstance(older, int) and newer != older:
        return wrong_value(
            "body.max_tokens", f"it is {older}, but max_completion_tokens is {newer}; give one of them"
        )
    bound = newer or older or tokens_default
    assert isinstance(bound, int), bound
    return bound
