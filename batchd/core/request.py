"""Requests: what a valid request line asks, in neutral words.

SUMMARY
    `parse_line` turns the bytes of one line into a `Request`, or into the `LineFault` that its error line
    will carry. It is used by intake, by `batchd check`, and again right before sending, so that no place
    holds a whole batch in memory.

    - A line is one JSON object with custom_id, method, url and body; other keys beside them are ignored.
      null counts as absent. Codes, messages and params are OpenAI's where it has some.
    - The url is the batch's: that of its first valid line.
    - A fault carries the custom_id wherever one can be read, even where the body cannot, so that the
      submitter can match the error line. An empty custom_id matches nothing and is refused.

    `canonical_text` stands for the prompt that the model will read, `canonical_head` for what comes before
    the last message. Bytes that no UTF-8 text can hold separate roles and texts, so two requests have equal
    text only if they ask the same, and equal beginnings stay equal beginnings.

DIAGNOSTICS
    None raised: every bad line is a value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.checks import Flaw, missing, shown, wrong_type, wrong_value
from batchd.core.content import Message as Message
from batchd.core.content import read_inputs, read_messages, read_prompt
from batchd.core.fault import LineFault
from batchd.core.json import JsonFault, dumps, loads_strict
from batchd.core.lines import Line, too_long_fault
from batchd.core.parameters import Endpoint as Endpoint
from batchd.core.parameters import read_parameters


@dataclass(frozen=True, slots=True)
class Prefix:
    """A beginning that many requests share: a name for it, and its tokens, estimated."""

    name: str
    tokens: int


@dataclass(slots=True)  # not frozen, as `Line`: a million are made
class Request:
    """One valid request.

    `messages` is for chat; `inputs` has the one prompt of a completion, or the texts to embed.
    `parameters` holds the neutral names of `core/parameters` that the line gives; what is unset is not there.
    `completion_tokens_max` is the bound of the answer; 0 for embeddings, which have none.
    `prefix` stands in no line: the plan knows it, and an engine may make use of it.
    """

    custom_id: str
    endpoint: Endpoint
    model: str
    messages: tuple[Message, ...]
    inputs: tuple[str, ...]
    parameters: Mapping[str, object]
    completion_tokens_max: int
    prefix: Prefix | None = None


@dataclass(frozen=True, slots=True)
class LineLimits:
    """What one line may be, and the bound of an answer whose line names none."""

    #: Room for a prompt of some two million tokens. Reading takes at least 12 times the line, and up to 36
    #: times where it is brackets and nothing else (measured): then 300 MB, until the next line.
    line_bytes_max: int = 8 * 1024 * 1024
    completion_tokens_default: int = 1024


_HALF_SURROGATE = re.compile("[\ud800-\udfff]")

_NOT_PARSEABLE = "This line is not parseable as valid JSON."

_ENDPOINTS: dict[str, Endpoint] = {endpoint.value: endpoint for endpoint in Endpoint}

_STREAM_TITLES = {
    Endpoint.CHAT: "Chat Completions",
    Endpoint.COMPLETIONS: "Completions",
    Endpoint.EMBEDDINGS: "Embeddings",
}

#: A path, or a name with its registry. Names are held for the whole batch, and shown in status and log.
MODEL_CHARS_MAX = 1024

Fields = Mapping[str, object]


#: A whole file of another encoding is told as one (`core/filetype`); where some lines are ASCII, by each.
_NOT_UTF8 = " Reason: it is not UTF-8"
_CONVERT = " If the file is Latin-1: `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW.jsonl`."


def parse_line(raw: bytes, line: int, limits: LineLimits, endpoint: Endpoint | None) -> Request | LineFault:
    """The request of line number `line`, or why there is none. `endpoint` None: no line was valid yet."""
    if len(raw) > limits.line_bytes_max:
        return too_long_fault(Line(line, 0, len(raw), None), limits.line_bytes_max)
    try:
        value = loads_strict(raw)
    except JsonFault as fault:
        reason = "" if fault.is_syntax else f" Reason: {fault}."
        if reason.startswith(_NOT_UTF8):
            reason += _CONVERT
        custom_id = _custom_id(fault.readable)
        return LineFault(line, "invalid_json_line", _NOT_PARSEABLE + reason, custom_id=custom_id)
    if not isinstance(value, dict):
        return LineFault(line, "invalid_json_line", f"{_NOT_PARSEABLE} Reason: it is not an object.")
    request = _read(value, limits, endpoint)
    if isinstance(request, Flaw):
        return LineFault(line, request.code, request.message, request.param, _custom_id(value))
    return request


def _custom_id(value: object) -> str | None:
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    # A refused text may have half of a surrogate pair, also in its custom_id: then no result can name it.
    return custom_id if isinstance(custom_id, str) and not _HALF_SURROGATE.search(custom_id) else None


def _read(value: Fields, limits: LineLimits, expected: Endpoint | None) -> Request | Flaw:
    endpoint = _envelope(value, expected)
    if isinstance(endpoint, Flaw):
        return endpoint
    custom_id, body = value["custom_id"], value["body"]
    assert isinstance(custom_id, str), "the envelope was checked"
    assert isinstance(body, dict), "the envelope was checked"
    model = _model(body)
    if isinstance(model, Flaw):
        return model
    if flaw := _stream(endpoint, body):
        return flaw
    content = _content(endpoint, body)
    if isinstance(content, Flaw):
        return content
    reading = read_parameters(endpoint, body, limits.completion_tokens_default)
    if isinstance(reading, Flaw):
        return reading
    return Request(custom_id, endpoint, model, *content, *reading)


def _envelope(value: Fields, expected: Endpoint | None) -> Endpoint | Flaw:
    """The four keys around the body; the endpoint when they are good."""
    custom_id, method, url = value.get("custom_id"), value.get("method"), value.get("url")
    for name in ("custom_id", "method", "url", "body"):
        if value.get(name) is None:
            return missing(name)
    if not isinstance(custom_id, str):
        return wrong_type("custom_id", "a string", custom_id)
    if not custom_id:
        return wrong_value("custom_id", "it is empty")
    if not isinstance(method, str):
        return wrong_type("method", "a string", method)
    if method != "POST":
        return wrong_value("method", f"expected 'POST', but got '{shown(method)}'")
    endpoint = _url(url, expected)
    if isinstance(endpoint, Endpoint) and not isinstance(value["body"], dict):
        return wrong_type("body", "an object", value["body"])
    return endpoint


def _url(url: object, expected: Endpoint | None) -> Endpoint | Flaw:
    if not isinstance(url, str):
        return wrong_type("url", "a string", url)
    endpoint = _ENDPOINTS.get(url)
    if endpoint is not None and expected in (None, endpoint):
        return endpoint
    message = "The URL provided for this request does not match the batch endpoint."
    if endpoint is None:
        message += f" batchd answers {', '.join(Endpoint)}, and not '{shown(url)}'."
    return Flaw("invalid_url", message, "url")


def _model(body: Fields) -> str | Flaw:
    model = body.get("model")
    if model is None or model == "":
        return Flaw("invalid_request", "Model parameter is required.", "body.model")
    if not isinstance(model, str):
        return wrong_type("body.model", "a string", model)
    if len(model) > MODEL_CHARS_MAX:
        return wrong_value("body.model", f"it is longer than {MODEL_CHARS_MAX} characters")
    return model


def _stream(endpoint: Endpoint, body: Fields) -> Flaw | None:
    stream = body.get("stream")
    if stream is None or stream is False:
        return None
    if stream is not True:
        return wrong_type("body.stream", "a boolean", stream)
    message = f"{_STREAM_TITLES[endpoint]}: Streaming is not supported in the Batch API."
    return Flaw("streaming_unsupported", message, "body.stream")


def _content(endpoint: Endpoint, body: Fields) -> tuple[tuple[Message, ...], tuple[str, ...]] | Flaw:
    """Messages and inputs; one of them is empty."""
    match endpoint:
        case Endpoint.CHAT:
            messages = read_messages(body)
            return messages if isinstance(messages, Flaw) else (messages, ())
        case Endpoint.COMPLETIONS:
            prompt = read_prompt(body)
            return prompt if isinstance(prompt, Flaw) else ((), (prompt,))
        case Endpoint.EMBEDDINGS:
            inputs = read_inputs(body)
            return inputs if isinstance(inputs, Flaw) else ((), inputs)


def schema_text(request: Request) -> bytes | None:
    """The schema that its answer shall have, as JSON; None where it asks for none."""
    asked = request.parameters.get("response_format")
    return dumps(asked["schema"]) if isinstance(asked, Mapping) and "schema" in asked else None


def unusable_schema(line: int, custom_id: str, reason: str) -> LineFault:
    """The schema of an answer is none, or cannot be used here."""
    path = "body.response_format.json_schema.schema"
    message = (
        f"Invalid value for '{path}': {reason}. A schema is read as JSON Schema 2020-12 unless it names "
        "another draft in '$schema', and nothing is fetched for it."
    )
    return LineFault(line, "invalid_value", message, path, custom_id)


def duplicate_custom_id(line: int, custom_id: str) -> LineFault:
    """An earlier line of the batch has this custom_id."""
    message = (
        f"The custom_id '{shown(custom_id)}' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    return LineFault(line, "duplicate_custom_id", message, "custom_id", custom_id)


def mismatched_model(line: int, custom_id: str, model: str) -> LineFault:
    """With `strict`: the line names another model than the first valid line."""
    message = (
        f"The model '{shown(model)}' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    return LineFault(line, "mismatched_model", message, "body.model", custom_id)


def surplus_model(line: int, custom_id: str, model: str, models_max: int) -> LineFault:
    """The batch has as many models as it may have, and this line names another one."""
    message = (
        f"The model '{shown(model)}' for this request is one too many: a batch may name {models_max} models."
    )
    return LineFault(line, "mismatched_model", message, "body.model", custom_id)


#: No UTF-8 text holds these bytes. The first ends a role, the second a text.
_ROLE_END = b"\xfe"
_TEXT_END = b"\xff"


def canonical_head(request: Request) -> bytes:
    """A chat without its last message; empty for a chat of one message and for all that is no chat."""
    if len(request.messages) < 2:
        return b""
    return _effort(request) + b"".join(map(_said, request.messages[:-1]))


def canonical_text(request: Request) -> bytes:
    """The whole of what the model reads. It begins with the canonical head."""
    if request.messages:
        return _effort(request) + b"".join(map(_said, request.messages))
    return b"".join(text.encode() + _TEXT_END for text in request.inputs)


def _said(message: Message) -> bytes:
    return message.role.encode() + _ROLE_END + message.text.encode() + _TEXT_END


def _effort(request: Request) -> bytes:
    """Chat templates write it at the very beginning, so requests that differ in it share nothing."""
    effort = request.parameters.get("reasoning_effort")
    return b"" if effort is None else b"reasoning_effort" + _ROLE_END + str(effort).encode() + _TEXT_END
