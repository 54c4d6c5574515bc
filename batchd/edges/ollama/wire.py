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
    None raised: a body that is no answer is a temporary fault of the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Source, Usage
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
    window = facts.get(f"{facts.get('general.architecture')}.context_length")
    capabilities = body.get("capabilities")
    quantization = details.get("quantization_level")
    return Model(
        str(details.get("family", "")),
        str(details.get("parameter_size", "")),
        str(quantization) if quantization else None,
        window if isinstance(window, int) else None,
        frozenset(map(str, capabilities)) if isinstance(capabilities, list) else frozenset(),
        is_remote_name(name) or bool(body.get("remote_host") or body.get("remote_model")),
    )


def full_name(name: str) -> str:
    """`smollm2` is listed as `smollm2:latest`."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def is_remote_name(name: str) -> bool:
    """`qwen3-coder:480b-cloud` and `glm-4.6:cloud` run on somebody else's machine."""
    return name.rsplit(":", 1)[-1].lower().endswith("cloud") and ":" in name


def fixed_fields(model: str, window: int, answer_tokens_max: int) -> dict[str, object]:
    """What every call carries, so that none of them makes the server load the model again.

    How long the model stays is only said with a load. A request that says it takes back what Ollama has
    decided meanwhile, which is to put the model out for somebody else: that one would wait for ever.
    """
    return {
        "model": model,
        "stream": False,
        "truncate": False,
        "shift": False,
        "options": {"num_ctx": window, "num_predict": max(1, answer_tokens_max)},
    }


def preload_call(
    model: str, window: int, is_embedding: bool, keep_alive: int | str
) -> tuple[str, dict[str, object]]:
    """Loads the model, or only sets how long it stays. Embedding models know no `/api/generate`."""
    fields = fixed_fields(model, window, 1) | {"keep_alive": keep_alive}
    return ("/api/embed", fields | {"input": []}) if is_embedding else ("/api/generate", fields)


def request_call(
    request: Request, name: str, window: int, model: Model
) -> tuple[str, dict[str, object]] | ModelFault:
    """Path and body. A fault where this model cannot do what the request asks."""
    body = fixed_fields(name, window, request.completion_tokens_max)
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
    if not isinstance(body, dict):
        return _no_answer("The answer is not a JSON object.")
    if request.endpoint is Endpoint.EMBEDDINGS:
        return _read_embeddings(body, len(request.inputs))
    if body.get("done") is not True:
        return _no_answer("The answer ended before it was done.")
    if body.get("done_reason") not in ("stop", "length"):
        return _no_answer(f"The answer ended for an unknown reason: {body.get('done_reason')!r}.")
    message = _mapping(body.get("message"))
    is_chat = request.endpoint is Endpoint.CHAT
    text = message.get("content") if is_chat else body.get("response")
    thoughts = message.get("thinking") if is_chat else body.get("thinking")
    if not isinstance(text, str):
        return _no_answer("The answer has no text.")
    reasoning = thoughts if isinstance(thoughts, str) and thoughts else None
    return Answer(text, reasoning, str(body["done_reason"]), _usage(body), reload_s=_reload_s(body))


def _read_embeddings(body: Mapping[str, object], count: int) -> Answer | ModelFault:
    vectors = body.get("embeddings")
    if not isinstance(vectors, list) or len(vectors) != count or not all(vectors):
        return _no_answer(f"The answer does not have {count} embeddings.")
    found = tuple(tuple(map(float, vector)) for vector in vectors)
    return Answer("", None, "stop", _usage(body), found, _reload_s(body))


def _usage(body: Mapping[str, object]) -> Usage:
    cached = body.get("prompt_eval_cached_count")
    completion = _count(body.get("eval_count"))
    return Usage(
        _count(body.get("prompt_eval_count")),
        completion,
        cached if isinstance(cached, int) else None,
        Source.ENGINE if isinstance(cached, int) else Source.UNKNOWN,
        _seconds(body.get("prompt_eval_duration")),
        # The first token belongs to the prefill: an answer of one has 1 µs here, which is no duration.
        _seconds(body.get("eval_duration")) if completion > 1 else None,
    )


def _reload_s(body: Mapping[str, object]) -> float:
    load_s = _seconds(body.get("load_duration")) or 0.0
    return load_s if load_s >= _RELOAD_S_MIN else 0.0


def _no_answer(message: str) -> ModelFault:
    return ModelFault(Category.SERVER, message, is_temporary=True)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: object) -> float | None:
    return value / _NS if isinstance(value, int) and value > 0 else None
