"""Faults of Ollama: its status and text, as a `ModelFault`.

SUMMARY
    classify          pure; from the texts of Ollama 0.33 and of the engines up to 0.24
    runs_elsewhere    what is refused here

    Texts that quote the submitter (a schema, a format, a model's name) are recognised first, by their
    shape, so that words inside of a quotation decide nothing. Then memory, then death, then the rest.
    A text that nobody knows is temporary trouble of the server, and the text is kept.

DIAGNOSTICS
    None raised.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchd.core import json
from batchd.core.fault import OUT_OF_MEMORY_TEXTS, Category, ModelFault
from batchd.core.reply import count_or_none, without_tags

#: The text ends up in the error line of each request; an engine's whole log does not belong there.
TEXT_CHARS_MAX = 2_000

#: What every engine says, and the words of older ones and of MLX.
_OOM = (
    *OUT_OF_MEMORY_TEXTS,
    "requires more system memory",
    "memory layout cannot be allocated",
    "unable to load full model on gpu",
)
_OOM_TOGETHER = ("model requires ", " but only ", " available")

_CONTEXT = (
    "exceed_context_size_error",
    "exceeds the available context size",
    "longer than the context length",
    "input length exceeds the context length",
    "exceeds the model's maximum context length",
    "exceeds maximum context length",
)
_TOKENS = re.compile(r"\((\d{1,10}) tokens\)")  # a longer number is none

_MODEL_MISSING = re.compile(r"model ['\"](.{1,200}?)['\"] not found")


@dataclass(frozen=True, slots=True)
class _Rule:
    words: tuple[str, ...]
    category: Category
    is_temporary: bool = True
    is_server_lost: bool = False
    needs_operator: bool = False
    is_crowded: bool = False


_BUSY = ("server busy", "loading model", "no slots available")

#: Read from top to bottom; the first that has one of its words in the text (lower case) decides.
_RULES = (
    _Rule(("does not support embeddings",), Category.MODEL, False),
    _Rule(
        ("may be incompatible with your version",), Category.MODEL, is_server_lost=True, needs_operator=True
    ),
    _Rule(_OOM, Category.OOM, is_server_lost=True),
    _Rule(("token repeat limit",), Category.RUNAWAY),
    _Rule(("timed out waiting for",), Category.TIMEOUT, is_server_lost=True),
    _Rule(_BUSY, Category.NETWORK, is_crowded=True),
    _Rule(("8 mb limit",), Category.SERVER),
    _Rule(
        (
            "unexpected eof",
            ": eof",
            "unexpectedly stopped",
            "no longer running",
            "process has terminated",
            "model failed to load, this may be due to resource",
            "error reading llama-server",
            "server not responding",
            "connection refused",
            "connection reset",
            "broken pipe",
            "health resp:",
            "an error was encountered while running the model",
        ),
        Category.CRASH,
        is_server_lost=True,
    ),
)

#: Statuses that speak of the request itself where no text says otherwise. Two 500s do as well: `_refused`.
_REFUSED = frozenset({400, 413, 422})


#: A proxy whose server is away, or takes too long. `core/retry` weighs whether it is the request's doing.
_AWAY = frozenset({502, 503, 504})
_TOO_MANY = 429


#: Ollama asks for no key; a proxy before it may.
_BARRED = frozenset({401, 403, 407})


def classify(status: int, text: str) -> ModelFault:
    """What this answer of an Ollama server means. `text` is its `error`, or the body where it has none."""
    quoting = _missing(status, text) or _refused(status, text) or _too_long(text)
    fault = quoting or _by_words(status, text or f"status {status} without a text")
    return replace(fault, message=fault.message[:TEXT_CHARS_MAX])


def runs_elsewhere(name: str) -> ModelFault:
    """A model that this Ollama would have another machine run."""
    message = f"The model '{name}' would be run by another machine; allow_remote_models is off."
    return ModelFault(Category.MODEL, message, is_temporary=False, code="remote_model_refused")


def _by_words(status: int, text: str) -> ModelFault:
    lowered = text.lower()
    # What a gateway says of a server is hearsay: its words decide nothing.
    if status in (*_AWAY, _TOO_MANY) and not any(words in lowered for words in _BUSY):
        who = "It" if status == _TOO_MANY else "The gateway before the model server"
        said = f"{who} answered {status}: {without_tags(text)}"
        return ModelFault(Category.NETWORK, said, is_temporary=True, is_crowded=status == _TOO_MANY)
    if all(words in lowered for words in _OOM_TOGETHER):
        return ModelFault(Category.OOM, text, is_temporary=True, is_server_lost=True)
    for rule in _RULES:
        if any(word in lowered for word in rule.words):
            return ModelFault(
                rule.category,
                text,
                rule.is_temporary,
                rule.is_server_lost,
                rule.needs_operator,
                is_crowded=rule.is_crowded,
            )
    if status in _REFUSED:
        return ModelFault(Category.VALIDATION, text, is_temporary=False)
    if status in _BARRED:
        said = f"It answered {status}, so whoever stands before this Ollama wants a key or a login: {text}"
        return ModelFault(Category.MODEL, said, True, is_server_lost=True, needs_operator=True)
    return ModelFault(Category.SERVER, text, is_temporary=True)


def _missing(status: int, text: str) -> ModelFault | None:
    if text in ("invalid model name", "model is required"):
        return ModelFault(Category.MODEL, text, is_temporary=False, code="model_not_found")
    if status != 404 or (found := _MODEL_MISSING.search(text)) is None:
        return None
    message = f"The model '{found[1]}' does not exist here; get it with: ollama pull {found[1]}"
    return ModelFault(Category.MODEL, message, is_temporary=False, code="model_not_found")


def _refused(status: int, text: str) -> ModelFault | None:
    """Texts that quote the request, of which two come with a 500."""
    if status == 500 and text.startswith(("invalid format:", 'option "')):
        return ModelFault(Category.VALIDATION, text, is_temporary=False)
    inner = _inner_error(text)
    if inner.get("type") == "invalid_request_error":
        return ModelFault(Category.VALIDATION, _words_of(inner, text), is_temporary=False)
    return None


def _too_long(text: str) -> ModelFault | None:
    lowered = text.lower()
    if not any(words in lowered for words in _CONTEXT):
        return None
    inner = _inner_error(text)
    prompt, window = inner.get("n_prompt_tokens"), inner.get("n_ctx")
    said = [*map(int, _TOKENS.findall(text)[:2]), None, None]
    return ModelFault(
        Category.CONTEXT_LENGTH,
        _words_of(inner, text),
        is_temporary=False,
        code="context_length_exceeded",
        prompt_tokens=count_or_none(prompt if prompt is not None else said[0]),
        window_tokens=count_or_none(window if window is not None else said[1]),
    )


def _words_of(inner: Mapping[str, object], text: str) -> str:
    said = inner.get("message")
    return said if isinstance(said, str) else text


def _inner_error(text: str) -> Mapping[str, object]:
    """llama-server's own error object, which Ollama passes on as a text."""
    if not text.startswith("{"):
        return {}
    try:
        outer = json.loads(text.encode())
    except ValueError:
        return {}
    inner = outer.get("error") if isinstance(outer, dict) else None
    return inner if isinstance(inner, dict) else {}
