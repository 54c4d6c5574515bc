"""Wire: requests into llama-server's words, and its answers into ours.

SUMMARY
    `refuse` finds what llama.cpp cannot do, `body_of` writes a request, `answer_of` reads the answer.

    The server takes much without a word: unknown parameters, a slot it does not have, a wrong model name. So
    what it cannot do is refused here, and what comes back is counted.

DIAGNOSTICS
    None raised: every bad answer is a ModelFault, whatever is bad about it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from batchd.core.fault import ModelFault
from batchd.core.json import loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.reply import OddReply, guarded, items, mapping, seconds, shown, text, vectors, whole
from batchd.core.request import Endpoint, Request
from batchd.edges.llamacpp.faults import too_long, unsupported

#: Parameters whose name and meaning are the same there.
_SAME = frozenset({"temperature", "top_p", "stop", "frequency_penalty", "presence_penalty"})

#: The neutral parameters that this engine obeys. `dimensions` is missing: llama-server ignores it.
#: `encoding_format` concerns only how the result is written; vectors always come as floats.
TRANSLATES = _SAME | {"seed", "response_format", "reasoning_effort", "encoding_format"}

#: Seeds there have 32 bits, and the last of them means "by chance"; a longer one is folded, so that the
#: same seed still gives the same answer.
_SEEDS = 2**32 - 1

#: Its durations are in milliseconds.
_MS = 1_000.0

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
    return guarded(lambda: _answer_of(request, mapping(loads(raw), "it"), window_tokens))


def _answer_of(request: Request, payload: Mapping[str, object], window_tokens: int) -> Answer | ModelFault:
    if request.endpoint is Endpoint.EMBEDDINGS:
        return _vectors(request, payload)
    return _text(request, payload, window_tokens)


def _response_format(form: Mapping[object, object]) -> dict[str, object]:
    if form.get("type") != "json_schema":
        return {"type": form.get("type")}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.get("schema")}}


def _text(request: Request, payload: Mapping[str, object], window_tokens: int) -> Answer | ModelFault:
    choices = items(payload.get("choices"), "choices")
    if len(choices) != 1:
        raise OddReply("the number of choices is not 1")
    choice = mapping(choices[0], "the choice")
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise OddReply(f"finish_reason is {shown(reason)}")
    usage = _usage(payload)
    # The last token needs no cell. More than the window holds: a user's server that shifts its context, and
    # forgot the beginning of the prompt.
    if usage.prompt_tokens + usage.completion_tokens > window_tokens + 1:
        said = f"the answer went on beyond the end of the context window of {window_tokens} tokens"
        return too_long(said, usage.prompt_tokens, window_tokens)
    if request.endpoint is Endpoint.COMPLETIONS:
        return Answer(text(choice.get("text"), "the answer"), None, str(reason), usage)
    message = mapping(choice.get("message"), "message")
    content, thoughts = message.get("content"), message.get("reasoning_content")
    return Answer(
        text="" if content is None else text(content, "the answer"),  # nothing but thoughts
        reasoning=(None if thoughts is None else text(thoughts, "reasoning_content")) or None,
        finish_reason=str(reason),
        usage=usage,
    )


def _usage(payload: Mapping[str, object]) -> Usage:
    """From `timings`, which are exact and per request; an old server has only OpenAI's `usage`."""
    usage = mapping(payload.get("usage"), "usage")
    timings = mapping(payload.get("timings") or {}, "timings")
    if "cache_n" not in timings:
        prompt_tokens = whole(usage.get("prompt_tokens"), "prompt_tokens")
        details = mapping(usage.get("prompt_tokens_details") or {}, "prompt_tokens_details")
        cached = details.get("cached_tokens")
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=whole(usage.get("completion_tokens"), "completion_tokens"),
            cached_tokens=None if cached is None else whole(cached, "cached_tokens", most=prompt_tokens),
            cached_source=Source.UNKNOWN if cached is None else Source.ENGINE,
            prefill_s=None,
            decode_s=None,
        )
    cached_tokens = whole(timings["cache_n"], "cache_n")
    return Usage(
        prompt_tokens=whole(cached_tokens + whole(timings.get("prompt_n"), "prompt_n"), "the prompt"),
        completion_tokens=whole(timings.get("predicted_n"), "predicted_n"),
        cached_tokens=cached_tokens,
        cached_source=Source.ENGINE,
        prefill_s=seconds(timings.get("prompt_ms"), _MS, "prompt_ms"),
        decode_s=seconds(timings.get("predicted_ms"), _MS, "predicted_ms"),
    )


def _vectors(request: Request, payload: Mapping[str, object]) -> Answer:
    rows = [mapping(row, "a row") for row in items(payload.get("data"), "data")]
    places = {whole(row.get("index"), "index"): row.get("embedding") for row in rows}
    if len(places) != len(rows):
        raise OddReply("two of its vectors have one index")
    found = vectors([places[place] for place in sorted(places)], len(request.inputs))
    prompt_tokens = whole(mapping(payload.get("usage"), "usage").get("prompt_tokens"), "prompt_tokens")
    usage = Usage(prompt_tokens, 0, None, Source.UNKNOWN, prefill_s=None, decode_s=None)
    return Answer("", None, "stop", usage, found)
