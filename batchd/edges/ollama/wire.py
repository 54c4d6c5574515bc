"""The wire: neutral requests into Ollama's bodies, and its bodies into answers. Pure.

SUMMARY
    TRANSLATES      the neutral parameters that can be said here
    Ability         what the loaded model can, from `/api/show`
    fixed_fields    what every call carries, preloads as well: window, no truncation, no shifting
    request_call    path and body of one request
    read_answer     the answer in a body, or the fault that it is
    Model           what `/api/show` says of a model

    `truncate: false` and `shift: false` on every call: both default to cutting without a word, and another
    `shift` reloads the model. `num_predict` is never 0, which would mean no bound.

DIAGNOSTICS
    None raised: a body that is no answer is a temporary fault of the server, whatever is odd about it. What
    a server tells of a model and what cannot be counts as not told.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Source, Usage
from batchd.core.reply import (
    count_or_none,
    guarded,
    items,
    mapping,
    seconds,
    shown,
    text,
    text_or_empty,
    vectors,
    whole,
)
from batchd.core.request import Endpoint, Request

#: Neutral names that become options, under these names of Ollama.
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}

#: `encoding_format` is the shape of the result line, not of the question: vectors leave here as numbers.
TRANSLATES: frozenset[str] = frozenset(_OPTIONS) | {
    "response_format",
    "reasoning_effort",
    "dimensions",
    "encoding_format",
}

#: Efforts of OpenAI that Ollama calls otherwise; the others keep their word.
_EFFORTS: Mapping[str, object] = {"none": False, "minimal": "low", "xhigh": "max"}

#: Families that cannot answer without thinking; unasked they think as little as they can.
_ALWAYS_THINKS = frozenset({"gptoss", "gpt-oss"})

#: Families that Ollama gives one slot whatever was asked, besides embedding models; no answer of it says so.
SERIAL_FAMILIES = frozenset(
    {
        "mllama",
        "qwen3vl",
        "qwen3vlmoe",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "nemotron_h_omni",
    }
)

#: How long our model stays while we need it. Ollama's own "for ever" (-1) is listed as the year 2318, and
#: this is not: so what a killed batchd has left is not taken for a model that somebody wants to keep.
AT_WORK = "87600h"
FOREVER = -1

#: A runner's seeds have 32 bits, and the last of them (-1 as well) means "by chance" (measured: 0.33): a
#: longer one is folded, so that the same seed still gives the same answer.
_SEEDS = 2**32 - 1

_NS = 1e9

#: Finding the model in memory takes a millisecond, and on a busy machine some tens; a load half a second at
#: least, and whoever else's model has to go first (measured: 0.33).
_RELOAD_S_MIN = 0.25


@dataclass(frozen=True, slots=True)
class Model:
    """What `/api/show` says. `capabilities` is empty for a server too old to tell."""

    family: str
    size: str
    quantization: str | None
    window_tokens_max: int | None
    capabilities: frozenset[str]
    is_remote: bool

    @property
    def always_thinks(self) -> bool:
        return self.family in _ALWAYS_THINKS

    @property
    def can_think(self) -> bool:
        return "thinking" in self.capabilities

    @property
    def is_serial(self) -> bool:
        return self.family in SERIAL_FAMILIES or "embedding" in self.capabilities


def read_model(name: str, body: Mapping[str, object]) -> Model:
    details = _mapping(body.get("details"))
    facts = _mapping(body.get("model_info"))
    window = facts.get(f"{text_or_empty(facts.get('general.architecture'))}.context_length")
    capabilities = body.get("capabilities")
    return Model(
        text_or_empty(details.get("family")),
        text_or_empty(details.get("parameter_size")),
        text_or_empty(details.get("quantization_level")) or None,
        count_or_none(window),
        frozenset(map(text_or_empty, capabilities)) if isinstance(capabilities, list) else frozenset(),
        is_remote_name(name) or bool(body.get("remote_host") or body.get("remote_model")),
    )


def full_name(name: str) -> str:
    """`smollm2` is listed as `smollm2:latest`."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def is_remote_name(name: str) -> bool:
    """`qwen3-coder:480b-cloud` and `glm-4.6:cloud` run on somebody else's machine."""
    return name.rsplit(":", 1)[-1].lower().endswith("cloud") and ":" in name


def fixed_fields(model: str, window: int, answer_tokens_max: int, shift: bool | None) -> dict[str, object]:
    """What every call carries, so that none of them makes the server load the model again. `shift` None: what
    other clients carry, nothing.

    How long the model stays is only said with a load. A request that says it takes back what Ollama has
    decided meanwhile, which is to put the model out for somebody else: that one would wait for ever.
    """
    return {
        "model": model,
        "stream": False,
        "truncate": False,
        **({} if shift is None else {"shift": shift}),
        "options": {"num_ctx": window, "num_predict": max(1, answer_tokens_max)},
    }


def preload_call(
    model: str, window: int, is_embedding: bool, keep_alive: int | str, shift: bool | None = False
) -> tuple[str, dict[str, object]]:
    """Loads the model, or only sets how long it stays. Embedding models know no `/api/generate`."""
    fields = fixed_fields(model, window, 1, shift) | {"keep_alive": keep_alive}
    return ("/api/embed", fields | {"input": []}) if is_embedding else ("/api/generate", fields)


def request_call(
    request: Request, name: str, window: int, model: Model, shift: bool | None = False
) -> tuple[str, dict[str, object]] | ModelFault:
    """Path and body. A fault where this model cannot do what the request asks."""
    body = fixed_fields(name, window, request.completion_tokens_max, shift)
    match request.endpoint:
        case Endpoint.EMBEDDINGS:
            return "/api/embed", body | _embedding_fields(request)
        case Endpoint.COMPLETIONS:
            if not request.inputs or not request.inputs[0]:
                return _refuse("An empty prompt asks this engine for nothing.")
            body["options"] = _options(request, body["options"])
            return "/api/generate", body | {"raw": True, "prompt": request.inputs[0]}
        case Endpoint.CHAT:
            if not request.messages:
                return _refuse("A chat without messages asks this engine for nothing.")
            thinking = _think(request.parameters.get("reasoning_effort"), model)
            if isinstance(thinking, ModelFault):
                return thinking
            body["options"] = _options(request, body["options"])
            messages = [{"role": message.role, "content": message.text} for message in request.messages]
            return "/api/chat", body | {"messages": messages} | thinking | _form(request)


def _refuse(message: str) -> ModelFault:
    return ModelFault(Category.VALIDATION, message, is_temporary=False, code="invalid_value")


def _embedding_fields(request: Request) -> dict[str, object]:
    dimensions = request.parameters.get("dimensions")
    return {"input": list(request.inputs)} | ({"dimensions": dimensions} if dimensions else {})


def _options(request: Request, fixed: object) -> dict[str, object]:
    options = dict(_mapping(fixed))
    for neutral, ours in _OPTIONS.items():
        if (value := request.parameters.get(neutral)) is not None:
            options[ours] = list(value) if isinstance(value, tuple) else value
    if isinstance(seed := options.get("seed"), int):
        options["seed"] = seed % _SEEDS
    return options


def _think(effort: object, model: Model) -> dict[str, object] | ModelFault:
    """Off unless asked for. A model that cannot think refuses an effort by itself, with its own text."""
    if effort is None:
        if not model.can_think:
            return {}
        return {"think": "low" if model.always_thinks else False}
    if effort == "none" and model.always_thinks:
        return _refuse("This model cannot answer without thinking: reasoning_effort 'none' is not possible.")
    if effort == "none" and not model.can_think:
        return {}
    return {"think": _EFFORTS.get(str(effort), effort)}


def _form(request: Request) -> dict[str, object]:
    form = _mapping(request.parameters.get("response_format"))
    match form.get("type"):
        case "json_object":
            return {"format": "json"}
        case "json_schema":
            return {"format": form.get("schema")}
        case _:
            return {}


def read_answer(request: Request, body: object) -> Answer | ModelFault:
    """An answer counts only when it says that it is done, and why."""
    return guarded(lambda: _read_answer(request, mapping(body, "it")))


def _read_answer(request: Request, body: Mapping[str, object]) -> Answer | ModelFault:
    if request.endpoint is Endpoint.EMBEDDINGS:
        found = vectors(items(body.get("embeddings"), "embeddings"), len(request.inputs))
        return Answer("", None, "stop", _usage(body), found, _reload_s(body))
    if body.get("done") is not True:
        return _no_answer("The answer ended before it was done.")
    reason = body.get("done_reason")
    if reason not in ("stop", "length"):
        return _no_answer(f"The answer ended for an unknown reason: {shown(reason)}.")
    is_chat = request.endpoint is Endpoint.CHAT
    said = mapping(body.get("message"), "message") if is_chat else body
    content = text(said.get("content" if is_chat else "response"), "the answer")
    thoughts = said.get("thinking")
    reasoning = None if thoughts is None else text(thoughts, "thinking")
    return Answer(content, reasoning or None, str(reason), _usage(body), reload_s=_reload_s(body))


def _usage(body: Mapping[str, object]) -> Usage:
    prompt, completion = _count(body, "prompt_eval_count"), _count(body, "eval_count")
    cached = body.get("prompt_eval_cached_count")
    return Usage(
        prompt,
        completion,
        None if cached is None else whole(cached, "prompt_eval_cached_count", most=prompt),
        Source.UNKNOWN if cached is None else Source.ENGINE,
        _seconds(body, "prompt_eval_duration"),
        # The first token belongs to the prefill: an answer of one has 1 µs here, which is no duration.
        _seconds(body, "eval_duration") if completion > 1 else None,
    )


def _reload_s(body: Mapping[str, object]) -> float:
    load_s = _seconds(body, "load_duration") or 0.0
    return load_s if load_s >= _RELOAD_S_MIN else 0.0


def _no_answer(message: str) -> ModelFault:
    return ModelFault(Category.SERVER, message, is_temporary=True)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _count(body: Mapping[str, object], name: str) -> int:
    """Ollama leaves a count of nothing out."""
    value = body.get(name)
    return 0 if value is None else whole(value, name)


def _seconds(body: Mapping[str, object], name: str) -> float | None:
    value = body.get(name)
    return None if value is None else seconds(value, _NS, name) or None
