"""Faults: what came from a llama-server instead of an answer, as values.

SUMMARY
    `fault_of_error`   an error body
    `fault_of_end`     a running server ended: its exit code and the last lines of its standard error
    `fault_of_load`    the same before it listened
    The others name a fault that was found here.

DIAGNOSTICS
    None raised: every text has a fault; an unknown one is `server`, temporary, with the text kept.
"""

import re
import signal
from collections.abc import Mapping

from batchd.core.fault import OUT_OF_MEMORY_TEXTS, Category, ModelFault
from batchd.core.json import loads
from batchd.core.reply import count_or_none, without_tags

#: The overflow of an embedding, where the physical batch is the window.
_TOO_LARGE = re.compile(
    r"input \((\d{1,10}) tokens\) is too large to process.*?batch size: (\d{1,10})\b", re.DOTALL
)

#: The time and the level that begin a line of llama.cpp's log.
_STAMP = re.compile(r"^\d[\d.]* [A-Z] ")

#: How much of a foreign text is kept in a fault.
_TEXT_CHARS_MAX = 600

#: Lines of a dead server's standard error that its fault quotes.
_QUOTED_LINES = 3


def fault_of_error(status: int, raw: bytes) -> ModelFault:
    """What any other status says."""
    error = _error_object(raw)
    said = error.get("message")
    text = (said if isinstance(said, str) and said else raw.decode(errors="replace"))[:_TEXT_CHARS_MAX]
    text = text.strip() or f"status {status} without a text"
    if error.get("type") == "exceed_context_size_error":
        return too_long(text, error.get("n_prompt_tokens"), error.get("n_ctx"))
    if found := _TOO_LARGE.search(text):
        return too_long(text, int(found[1]), int(found[2]))
    if is_oom(text):
        # The server may live on, but what it holds is more than it can work with.
        return ModelFault(Category.OOM, text, is_temporary=True, is_server_lost=True)
    answered = f"llama-server answered {status}: {text}"
    if status in (400, 422):
        return ModelFault(Category.VALIDATION, text, is_temporary=False, code="invalid_request")
    if status in (401, 403):
        return out_of_order(f"{answered} (its key is wrong: llamacpp.api_key)")
    if status in (404, 501):
        return ModelFault(Category.MODEL, answered, is_temporary=False, code="unsupported_by_server")
    if status == 429 or (status == 503 and "loading model" in text.lower()):
        return ModelFault(Category.NETWORK, answered, is_temporary=True, is_crowded=True)
    if status in (502, 503, 504):  # `core/retry` weighs whether it is the request's doing
        said = f"the gateway before llama-server answered {status}: {without_tags(text)}"
        return ModelFault(Category.NETWORK, said, is_temporary=True)
    return ModelFault(Category.SERVER, answered, is_temporary=True)


def fault_of_end(reason: str, exit_code: int) -> ModelFault:
    """Why a running server ended."""
    is_killed = exit_code == -signal.SIGKILL  # no last words then: what stands there is of an older trouble
    words = reason.split("\n")[0] if is_killed else _last_words(reason)
    category = Category.OOM if is_oom(words) else Category.CRASH
    said = f"the llama.cpp server is gone: {words}"
    return ModelFault(category, said, is_temporary=True, is_server_lost=True)


def fault_of_load(reason: str, exit_code: int) -> ModelFault:
    """Why a server ended before it listened. A signal may spare the next one."""
    said = f"the model cannot be loaded: {_last_words(reason)}"
    if is_oom(reason):
        return ModelFault(Category.OOM, said, is_temporary=True, is_server_lost=True)
    if exit_code < 0:
        return ModelFault(Category.CRASH, said, is_temporary=True, is_server_lost=True)
    return out_of_order(said)


def out_of_order(text: str) -> ModelFault:
    """A set-up that only a person can mend: nobody's request is to blame for it."""
    return ModelFault(Category.MODEL, text, is_temporary=True, is_server_lost=True, needs_operator=True)


def of_set_up(fault: ModelFault) -> ModelFault:
    """What a server says that does not know its own description is about its address, not a request."""
    if fault.is_temporary:
        return fault
    return out_of_order(f"{fault.message} (it is no llama-server, or llamacpp.url has a wrong path)")


def is_oom(text: str) -> bool:
    """Whether a text speaks of memory that was not to be had."""
    lowered = text.lower()
    return any(words in lowered for words in OUT_OF_MEMORY_TEXTS)


def too_long(text: str, prompt_tokens: object, window_tokens: object) -> ModelFault:
    """A prompt, or a prompt with its answer, that the window does not hold."""
    return ModelFault(
        Category.CONTEXT_LENGTH,
        text,
        is_temporary=False,
        code="context_length_exceeded",
        prompt_tokens=count_or_none(prompt_tokens),
        window_tokens=count_or_none(window_tokens),
    )


def unsupported(text: str) -> ModelFault:
    """A wish that this engine would ignore."""
    return ModelFault(Category.VALIDATION, text, is_temporary=False, code="unsupported_parameter")


def _error_object(raw: bytes) -> Mapping[str, object]:
    try:
        value = loads(raw)
    except ValueError:
        return {}
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {"message": error}


def _last_words(reason: str) -> str:
    """How it ended, and the lines that say why: those on memory, else the last ones."""
    how, *lines = reason.split("\n")
    lines = [_STAMP.sub("", line) for line in lines]
    telling = [line for line in lines if is_oom(line)] or lines[-_QUOTED_LINES:]
    return "; ".join([how, *telling[:_QUOTED_LINES]])[:_TEXT_CHARS_MAX]
