"""Content: what the model reads, taken out of a request body.

SUMMARY
    read_messages   `messages` of a chat
    read_prompt     `prompt` of a completion: one text
    read_inputs     `input` of an embedding: one or more texts

    - Text parts of one message become one text, joined by nothing: OpenAI puts no separator between them,
      and an engine that made a message of each would ask another question.
    - The role `developer` is OpenAI's newer word for `system`, and becomes it.
    - Engines answer with 200 to an unknown role, to `content: null` and to keys that they do not know. All
      of these are refused here. A key whose value is null or an empty array says nothing and is no fault, so
      that an assistant message can be pasted from an answer.
    - A chat that ends with the assistant is refused: llama.cpp continues that message and repeats it in the
      answer, Ollama does what the template of the model says, and neither can be told.
    - Token arrays are refused: their numbers mean something else to every model.

DIAGNOSTICS
    None raised: a bad value is a `Flaw`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.checks import Flaw, foreign_key, missing, shown, unsupported, wrong_type, wrong_value


@dataclass(slots=True)  # not frozen, as `Line`: a million are made
class Message:
    """One chat message; text parts are joined already. Roles: system, user, assistant."""

    role: str
    text: str


#: OpenAI's bound for the texts of one request.
INPUT_COUNT_MAX = 2048

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TOOL_ROLES = ("tool", "function")
_MESSAGE_KEYS = frozenset({"role", "content"})
_PART_KEYS = frozenset({"type", "text"})

Fields = Mapping[str, object]


def read_messages(body: Fields) -> tuple[Message, ...] | Flaw:
    """The messages of a chat; at least one."""
    value = body.get("messages")
    if value is None:
        return Flaw("invalid_request", "Messages parameter is required.", "body.messages")
    if not isinstance(value, list):
        return wrong_type("body.messages", "an array of objects", value)
    if not value:
        return wrong_value("body.messages", "the array is empty")
    messages = []
    for index, item in enumerate(value):
        message = _message(index, item)
        if isinstance(message, Flaw):
            return message
        messages.append(message)
    if messages[-1].role == "assistant":
        return unsupported(
            f"body.messages[{len(messages) - 1}].role",
            "is 'assistant' in the last message, which some models' servers continue and others answer; end "
            "with a message of the user",
        )
    return tuple(messages)


def _message(index: int, value: object) -> Message | Flaw:
    if not isinstance(value, dict):
        return wrong_type(f"body.messages[{index}]", "an object", value)
    role = value.get("role")
    content = value.get("content")
    if isinstance(role, str) and role in _ROLES and isinstance(content, str) and content and len(value) == 2:
        return Message(_ROLES[role], content)  # nearly every message; the rest is for the others
    return _unusual_message(f"body.messages[{index}]", value)


def _unusual_message(path: str, value: Fields) -> Message | Flaw:
    role = _role(path, value.get("role"))
    if isinstance(role, Flaw):
        return role
    if flaw := foreign_key(path, value, _MESSAGE_KEYS):
        return flaw
    if "content" not in value:
        return missing(f"{path}.content")
    text = _text(f"{path}.content", value["content"])
    return text if isinstance(text, Flaw) else Message(role, text)


def _role(path: str, value: object) -> str | Flaw:
    if value is None:
        return missing(f"{path}.role")
    if not isinstance(value, str):
        return wrong_type(f"{path}.role", "a string", value)
    if value in _TOOL_ROLES:
        return unsupported(f"{path}.role", f"'{value}' belongs to tools, which batchd does not support")
    if value not in _ROLES:
        return wrong_value(f"{path}.role", f"expected one of {', '.join(_ROLES)}, but got '{shown(value)}'")
    return _ROLES[value]


def _text(path: str, value: object) -> str | Flaw:
    if isinstance(value, list):
        texts = []
        for index, part in enumerate(value):
            text = _part(f"{path}[{index}]", part)
            if isinstance(text, Flaw):
                return text
            texts.append(text)
        value = "".join(texts)
    if not isinstance(value, str):
        return wrong_type(path, "a string or an array of text parts", value)
    return value or wrong_value(path, "it is empty")


def _part(path: str, value: object) -> str | Flaw:
    if not isinstance(value, dict):
        return wrong_type(path, "an object", value)
    kind = value.get("type")
    if kind is None:
        return missing(f"{path}.type")
    if not isinstance(kind, str):
        return wrong_type(f"{path}.type", "a string", kind)
    if kind != "text":
        return unsupported(path, f"is a part of type '{shown(kind)}'; batchd reads text only")
    if flaw := foreign_key(path, value, _PART_KEYS):
        return flaw
    text = value.get("text")
    return text if isinstance(text, str) else wrong_type(f"{path}.text", "a string", text)


def read_prompt(body: Fields) -> str | Flaw:
    """One text, or an array that holds one text: several would be several answers to one custom_id."""
    value = body.get("prompt")
    if value is None:
        return Flaw("invalid_request", "Prompt parameter is required.", "body.prompt")
    if isinstance(value, list):
        if not value:
            return wrong_value("body.prompt", "the array is empty")
        if len(value) > 1 or isinstance(value[0], (int, list)):
            return unsupported("body.prompt", "must be one text; batchd takes no token arrays and no lists")
        value = value[0]
    return _one_text("body.prompt", value)


def read_inputs(body: Fields) -> tuple[str, ...] | Flaw:
    """The texts to embed; at least one."""
    value = body.get("input")
    if value is None:
        return Flaw("invalid_request", "Input parameter is required.", "body.input")
    if isinstance(value, str):
        text = _one_text("body.input", value)
        return text if isinstance(text, Flaw) else (text,)
    if not isinstance(value, list):
        return wrong_type("body.input", "a string or an array of strings", value)
    if not 1 <= len(value) <= INPUT_COUNT_MAX:
        return wrong_value("body.input", f"expected 1 to {INPUT_COUNT_MAX} texts, but got {len(value)}")
    if any(isinstance(item, (int, list)) for item in value):
        return unsupported("body.input", "holds tokens; batchd takes texts only")
    for index, item in enumerate(value):
        text = _one_text(f"body.input[{index}]", item)
        if isinstance(text, Flaw):
            return text
    return tuple(value)


def _one_text(path: str, value: object) -> str | Flaw:
    if not isinstance(value, str):
        return wrong_type(path, "a string", value)
    return value or wrong_value(path, "it is empty")
