"""Requests, checked in the order in which Ollama checks them: which text answers which mistake.

SUMMARY
    parse_body     the JSON object, or the refusal
    Options        the options of a request, with their types checked
    check_chat     what `/api/chat` refuses before it looks at memory
    render_chat, fit_messages     the prompt, and what `truncate` does to it
    bound_answer   stop strings, `num_predict` and the window

DIAGNOSTICS
    RefusedError: an answer with this status and text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from tests.simulator import answers, texts
from tests.simulator.models import ModelSpec

_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        (
            "num_ctx",
            "num_predict",
            "num_keep",
            "seed",
            "top_k",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "num_thread",
        ),
        ("integer", (int, float)),
    ),
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"),
        ("float32", (int, float)),
    ),
    "stop": ("array", (list,)),
    "use_mmap": ("boolean", (bool,)),
}

#: Options that belong to the runner: another value is a reload.
RUNNER_OPTIONS = ("num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class RefusedError(Exception):
    """An answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Options:
    """`window` 0: not given. `answer_tokens_max` 0: no bound; negative: no end."""

    window: int
    answer_tokens_max: int
    stop: tuple[str, ...]
    runner: tuple[object, ...]


def parse_body(body: bytes) -> dict[str, object]:
    if not body:
        raise RefusedError(400, texts.MISSING_BODY)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"invalid character: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "json: cannot unmarshal value into Go value of type api.ChatRequest")
    return value


def parse_options(body: Mapping[str, object]) -> Options:
    given = body.get("options") or {}
    if not isinstance(given, dict):
        raise RefusedError(400, "json: cannot unmarshal into Go struct field ChatRequest.options")
    for name, value in given.items():
        kind, types = _TYPES.get(name, ("", (object,)))
        if value is not None and not _fits(value, types):
            raise RefusedError(500, texts.option_type(name, kind))
    return Options(
        int(given.get("num_ctx") or 0),
        int(given.get("num_predict") or 0),
        tuple(given.get("stop") or ()),
        tuple(given.get(name) for name in RUNNER_OPTIONS),
    )


def _fits(value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types or types == (object,)
    return isinstance(value, types)


def parse_keep_alive(value: object) -> float | None:
    """Seconds; negative is for ever, None when not given."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        raise RefusedError(400, texts.missing_unit(text))
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if found is None:
        raise RefusedError(400, f'time: invalid duration "{text}"')
    return float(found[1]) * _UNITS_S[found[2]]


def check_messages(body: Mapping[str, object]) -> list[dict[str, object]]:
    messages = body.get("messages") or []
    assert isinstance(messages, list)
    if any(isinstance(message.get("content"), list) for message in messages):
        raise RefusedError(400, texts.CONTENT_LIST)
    return messages


def check_capabilities(spec: ModelSpec, body: Mapping[str, object], what: str) -> None:
    if "completion" not in spec.capabilities:
        raise RefusedError(400, texts.unsupported(spec.name, what))
    if body.get("tools") and "tools" not in spec.capabilities:
        raise RefusedError(400, texts.no_tools(spec.name))
    if body.get("think") and "thinking" not in spec.capabilities:
        raise RefusedError(400, texts.unsupported(spec.name, "thinking"))


def check_form(body: Mapping[str, object]) -> object:
    """The wanted form of the answer; None for free text."""
    form = body.get("format") or None
    if form is None or form == "json":
        return form
    if not isinstance(form, dict):
        raise RefusedError(500, texts.bad_format(form))
    try:
        answers.check_schema(form)
    except ValueError as error:
        raise RefusedError(400, texts.bad_schema(str(error))) from None
    return form


def text_of(message: Mapping[str, object]) -> str:
    return str(message.get("content") or "")


def render_chat(messages: Sequence[Mapping[str, object]]) -> str:
    turns = "".join(f"<|im_start|>{message['role']}\n{text_of(message)}<|im_end|>\n" for message in messages)
    return turns + "<|im_start|>assistant\n"


def last_user_text(messages: Sequence[Mapping[str, object]]) -> str:
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def fit_messages(messages: Sequence[Mapping[str, object]], body: Mapping[str, object], window: int) -> str:
    """The prompt. With `truncate` (the default) older messages go without a word, then the middle is cut."""
    prompt = render_chat(messages)
    if body.get("truncate") is False:
        return check_length(prompt, window)
    kept = list(messages)
    while answers.tokens_in(prompt) >= window and (at := _first_droppable(kept)) is not None:
        del kept[at]
        prompt = render_chat(kept)
    if answers.tokens_in(prompt) < window:
        return prompt
    if body.get("shift") is False:
        raise RefusedError(400, texts.TOO_LONG)
    half = window // 2 * answers.TOKEN_CHARS
    return prompt[: 4 * answers.TOKEN_CHARS] + prompt[-half:]


def check_length(prompt: str, window: int) -> str:
    if (tokens := answers.tokens_in(prompt)) >= window:
        raise RefusedError(400, texts.exceeds(tokens, window))
    return prompt


def _first_droppable(messages: Sequence[Mapping[str, object]]) -> int | None:
    return next((at for at, message in enumerate(messages[:-1]) if message.get("role") != "system"), None)


def bound_answer(text: str, options: Options, room: int) -> tuple[str, int, str]:
    """The answer as it comes out, its tokens, and why it ended. `room` is what the window has left."""
    ends = [at for stop in options.stop if (at := text.find(stop)) >= 0]
    if ends:
        text = text[: min(ends)]
    bound = min(options.answer_tokens_max, room) if options.answer_tokens_max > 0 else room
    if answers.tokens_in(text) > bound or options.answer_tokens_max < 0:
        text = text[: bound * answers.TOKEN_CHARS]
        return text, bound, "length"
    return text, max(1, answers.tokens_in(text)), "stop"
