"""Wire: requests into llama-server's words, and its answers into ours.

SUMMARY
    `refuse` finds what llama.cpp cannot do, `body_of` writes a request, `answer_of` reads the answer.

    The server takes much without a word: unknown parameters, a slot it does not have, a wrong model name. So
    what it cannot do is refused here, and what comes back is counted.

DIAGNOSTICS
    None raised: every bad answer is a ModelFault.
"""

from collections.abc import Mapping
from types import MappingProxyType

from batchd.core.fault import ModelFault
from batchd.core.json import loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Request
from batchd.edges.llamacpp.faults import strange, too_long, unsupported

#: Parameters whose name and meaning are the same there.
_SAME = frozenset({"temperature", "top_p", "stop", "frequency_penalty", "presence_penalty"})

#: The neutral parameters that this engine obeys. `dimensions` is missing: llama-server ignores it.
#: `encoding_format` concerns only how the result is written; vectors always come as floats.
TRANSLATES = _SAME | {"seed", "response_format", "reasoning_effort", "encoding_format"}

#: Seeds there have 32 bits, and the last of them means "by chance"; a longer one is folded, so that the
#: same seed still gives the same answer.
_SEEDS = 2**32 - 1

#: A model that thinks only when asked to mentions one of these in its chat template.
_THINKING_WORDS = ("enable_thinking", "reasoning_effort")

PATHS: Mapping[Endpoint, str] = MappingProxyType(
    {
        Endpoint.CHAT: "/v1/chat/completions",
        Endpoint.COMPLETIONS: "/v1/completions",
        Endpoint.EMBEDDINGS: "/v1/embeddings",
    }
)


def refuse(request: Request, can_think: bool) -> ModelFault | None:
    """What llama.cpp would ignore in silence."""
    for name in request.parameters:
        if name not in TRANSLATES:
            return unsupported(f"{name} is not supported by the llama.cpp engine")
    effort = request.parameters.get("reasoning_effort", "none")
    if effort != "none" and not can_think:
        return unsupported("reasoning_effort is not supported by this model: its chat template has no switch")
    return None


def can_think(template: str) -> bool:
    """Whether the model's chat template obeys a wish for thinking."""
    return any(word in template for word in _THINKING_WORDS)


def body_of(request: Request, slot: int) -> dict[str, object]:
    """The request in llama-server's words, pinned to a slot."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return {"input": list(request.inputs), "encoding_format": "float"}
    body: dict[str, object] = {
        "id_slot": slot,
        "cache_prompt": True,
        "max_tokens": request.completion_tokens_max,
        "stream": False,
    }
    body.update((name, value) for name, value in request.parameters.items() if name in _SAME)
    seed = request.parameters.get("seed")
    if isinstance(seed, int):
        body["seed"] = seed % _SEEDS
    if request.endpoint is Endpoint.COMPLETIONS:
        return body | {"prompt": request.inputs[0]}
    return body | chat_words(request)


def chat_words(request: Request) -> dict[str, object]:
    """The part of a chat body that shapes the prompt; enough for /apply-template."""
    effort = request.parameters.get("reasoning_effort", "none")
    switch: dict[str, object] = {"enable_thinking": effort != "none"}
    if effort != "none":
        switch["reasoning_effort"] = effort
    words: dict[str, object] = {
        "messages": [{"role": message.role, "content": message.text} for message in request.messages],
        "chat_template_kwargs": switch,
        "reasoning_format": "deepseek",  # thoughts apart, whatever the user's server was started with
    }
    form = request.parameters.get("response_format")
    if isinstance(form, Mapping):
        words["response_format"] = _response_format(form)
    return words


def answer_of(request: Request, raw: bytes, window_tokens: int) -> Answer | ModelFault:
    """What a 200 holds."""
    try:
        payload = loads(raw)
        if request.endpoint is Endpoint.EMBEDDINGS:
            return _vectors(request, payload)
        return _text(request, payload, window_tokens)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return strange(f"{type(error).__name__}: {error}")


def _response_format(form: Mapping[object, object]) -> dict[str, object]:
    if form.get("type") != "json_schema":
        return {"type": form.get("type")}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.get("schema")}}


def _text(request: Request, payload: object, window_tokens: int) -> Answer | ModelFault:
    found = _mapping(payload)
    choices = found["choices"]
    if not isinstance(choices, list) or len(choices) != 1:
        return strange("the number of choices is not 1")
    choice = _mapping(choices[0])
    reason = choice["finish_reason"]
    if reason not in ("stop", "length"):
        return strange(f"finish_reason {reason}")
    usage = _usage(found)
    if _was_cut_by_window(request, str(reason), usage, window_tokens):
        said = f"the answer reached the end of the context window of {window_tokens} tokens before its bound"
        return too_long(said, usage.prompt_tokens, window_tokens)
    if request.endpoint is Endpoint.COMPLETIONS:
        return Answer(str(choice["text"]), None, str(reason), usage)
    message = _mapping(choice["message"])
    thoughts = message.get("reasoning_content")
    return Answer(
        text=str(message.get("content") or ""),
        reasoning=str(thoughts) if thoughts else None,
        finish_reason=str(reason),
        usage=usage,
    )


def _was_cut_by_window(request: Request, reason: str, usage: Usage, window_tokens: int) -> bool:
    """The server says `length` for this as well, but the submitter's bound was another.

    More tokens than the window holds: a user's server that shifts its context, and forgot the prompt's begin.
    """
    filled_tokens = usage.prompt_tokens + usage.completion_tokens
    is_short = usage.completion_tokens < request.completion_tokens_max
    ends_at_window = reason == "length" and is_short and filled_tokens >= window_tokens
    return ends_at_window or filled_tokens > window_tokens + 1  # the last token needs no cell


def _usage(payload: Mapping[str, object]) -> Usage:
    """From `timings`, which are exact and per request; an old server has only OpenAI's `usage`."""
    usage = _mapping(payload["usage"])
    timings = _mapping(payload.get("timings") or {})
    if "cache_n" not in timings:
        cached = _mapping(usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        return Usage(
            prompt_tokens=int(_number(usage["prompt_tokens"])),
            completion_tokens=int(_number(usage["completion_tokens"])),
            cached_tokens=None if cached is None else int(_number(cached)),
            cached_source=Source.UNKNOWN if cached is None else Source.ENGINE,
            prefill_s=None,
            decode_s=None,
        )
    cached_tokens = int(_number(timings["cache_n"]))
    return Usage(
        prompt_tokens=cached_tokens + int(_number(timings["prompt_n"])),
        completion_tokens=int(_number(timings["predicted_n"])),
        cached_tokens=cached_tokens,
        cached_source=Source.ENGINE,
        prefill_s=_number(timings["prompt_ms"]) / 1000.0,
        decode_s=_number(timings["predicted_ms"]) / 1000.0,
    )


def _vectors(request: Request, payload: object) -> Answer | ModelFault:
    found = _mapping(payload)
    rows = found["data"]
    if not isinstance(rows, list) or len(rows) != len(request.inputs):
        return strange("the number of vectors is not that of the texts")
    ordered = sorted((_mapping(row) for row in rows), key=lambda row: _number(row["index"]))
    vectors = tuple(_vector(row["embedding"]) for row in ordered)
    prompt_tokens = int(_number(_mapping(found["usage"])["prompt_tokens"]))
    usage = Usage(prompt_tokens, 0, None, Source.UNKNOWN, prefill_s=None, decode_s=None)
    return Answer("", None, "stop", usage, vectors)


def _vector(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError("an embedding is not a list")
    return tuple(map(float, value))


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return value
