"""Results: the lines of `output.jsonl` and `errors.jsonl`, and the object in `batch.json`.

SUMMARY
    result_line        an answer, in the shape of its endpoint
    line_fault_line    a line that was refused when it was read
    model_fault_line   a request that got no answer
    batch_object       OpenAI's Batch

    A line is bytes without its newline, and without any other character that ends a line. What it holds:

        answered                                       response 200, error null
        refused by us or by the model                  response 400 with OpenAI's error body, error null
        no custom_id to be read, or never answered     response null, error {code, message, line}

    Identities come from `request_id`, so that a line written again is the same line; `created`: of a clock.
    Cached tokens stand where OpenAI has them only if the engine reported them, with their source.

DIAGNOSTICS
    Bug: an answer that no UTF-8 text can hold raises TypeError; an edge that reads its
    server with `core/json` never has one.
"""

import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batchd.core.fault import UNANSWERED, Category, LineFault, ModelFault, Refusal
from batchd.core.json import dumps_line
from batchd.core.model import Answer, Source, Usage
from batchd.core.parameters import Endpoint
from batchd.core.rejection import kept_line, why_of, with_rejected
from batchd.core.request import Request

#: Entries of `errors.data`; the error file has all of them.
ERRORS_MAX = 1000

#: For these, OpenAI has a code of its own, and one message whatever the cause.
_NEVER_RAN = {
    Category.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    Category.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}

#: Hexadecimal digits of the line index, at the end of every identity.
INDEX_DIGITS = 8

#: The codes of a refusal that brings none.
_REFUSED_CODES = {
    Category.CONTEXT_LENGTH: "context_length_exceeded",
    Category.MODEL: "model_error",
    Category.VALIDATION: "invalid_request",
}


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """The tokens of a whole batch. OpenAI's shape wants every number, so what nobody knows is 0."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What `batch.json` says. Moments are seconds since the epoch; None: it did not happen."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str  # OpenAI's word
    created_at: float
    total: int
    completed: int
    failed: int
    in_progress_at: float | None = None
    expires_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    model: str | None = None
    errors: Sequence[Refusal] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: TokenTotals | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def request_id(batch_id: str, index: int) -> str:
    """The hex identity of one line of one batch, the same however often the line is written."""
    return f"{batch_id.removeprefix('batch_')}{index:0{INDEX_DIGITS}x}"


def result_line(
    request: Request,
    answer: Answer,
    request_id: str,
    created: float,
    model: str | None = None,
    server: str = "",
    lowered_bound: int | None = None,
) -> bytes:
    """The line of an answer. `model`: what answered for an alias; `server`: where, of several;
    `lowered_bound`: the tokens that the window left for it, where its own bound was more."""
    name = request.model if model is None else model
    body: dict[str, object]
    match request.endpoint:
        case Endpoint.CHAT:
            body = _chat_completion(answer, request_id, int(created), name)
        case Endpoint.COMPLETIONS:
            body = _completion(answer, request_id, int(created), name)
        case Endpoint.EMBEDDINGS:
            is_base64 = request.parameters.get("encoding_format") == "base64"
            body = _embeddings(answer, is_base64, name)
    extras = {"server": server or None, "lowered_bound": lowered_bound}
    told = {key: value for key, value in extras.items() if value is not None}
    return _line(request_id, request.custom_id, _response(200, request_id, body) | told, None)


def line_fault_line(fault: LineFault, request_id: str) -> bytes:
    """The line of a request line that was refused when it was read."""
    if fault.custom_id is None:
        unread = {"code": fault.code, "message": fault.message, "line": fault.line}
        return _line(request_id, None, None, unread)
    body = _error_body(fault.code, fault.message, fault.param)
    return _line(request_id, fault.custom_id, _response(400, request_id, body), None)


def model_fault_line(custom_id: str, line: int, fault: ModelFault, request_id: str) -> bytes:
    """The line of a request whose last attempt ended with this fault; below it what was rejected."""
    if fault.category in UNANSWERED:
        default = fault.code or fault.category.value, fault.message
        code, message = _NEVER_RAN.get(fault.category, default)
        error = {"code": code, "message": message, "line": line}
        if fault.rejected is None:
            return _line(request_id, custom_id, None, error)
        kept = kept_line(custom_id, code, message, fault.rejected)
        return with_rejected(_line(request_id, custom_id, None, error | why_of(fault.rejected)), kept)
    code = fault.code or _REFUSED_CODES[fault.category]
    body = _error_body(code, fault.message, None)
    return _line(request_id, custom_id, _response(400, request_id, body), None)


def _line(
    request_id: str,
    custom_id: str | None,
    response: dict[str, object] | None,
    error: dict[str, object] | None,
) -> bytes:
    name = f"batch_req_{request_id}"
    return dumps_line({"id": name, "custom_id": custom_id, "response": response, "error": error})


def _response(status_code: int, request_id: str, body: dict[str, object]) -> dict[str, object]:
    return {"status_code": status_code, "request_id": f"req_{request_id}", "body": body}


def _error_body(code: str, message: str, param: str | None) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _chat_completion(answer: Answer, request_id: str, created: int, model: str) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": _usage(answer),
        "system_fingerprint": None,
    }


def _completion(answer: Answer, request_id: str, created: int, model: str) -> dict[str, object]:
    choice = {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": answer.finish_reason}
    return {
        "id": f"cmpl-{request_id}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": _usage(answer),
        "system_fingerprint": None,
    }


def _embeddings(answer: Answer, is_base64: bool, model: str) -> dict[str, object]:
    tokens = answer.usage.prompt_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(vector, is_base64)}
            for index, vector in enumerate(answer.embeddings)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(vector: Sequence[float], is_base64: bool) -> str | Sequence[float]:
    """Base64 is of little-endian 32-bit floats, on every machine."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if is_base64 else vector


def _usage(answer: Answer) -> dict[str, object]:
    usage = answer.usage
    # Engines count thoughts and answer together, so only an answer without thoughts has a known number.
    details = None if answer.reasoning else {"reasoning_tokens": 0}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": _prompt_details(usage),
        "completion_tokens_details": details,
    }


def _prompt_details(usage: Usage) -> dict[str, object]:
    if not usage.is_counted:
        return {"cached_tokens_source": Source.UNKNOWN.value}
    return {"cached_tokens": usage.cached_tokens, "cached_tokens_source": usage.cached_source.value}


def batch_object(facts: BatchFacts) -> dict[str, object]:
    """OpenAI's Batch, every field written; what did not happen is null."""
    return {
        "id": facts.id,
        "object": "batch",
        "endpoint": facts.endpoint,
        "model": facts.model,
        "errors": _errors(facts.errors),
        "input_file_id": facts.input_file_id,
        "completion_window": facts.completion_window,
        "status": facts.status,
        "output_file_id": facts.output_file_id,
        "error_file_id": facts.error_file_id,
        "created_at": int(facts.created_at),
        "in_progress_at": _moment(facts.in_progress_at),
        "expires_at": _moment(facts.expires_at),
        "finalizing_at": _moment(facts.finalizing_at),
        "completed_at": _moment(facts.completed_at),
        "failed_at": _moment(facts.failed_at),
        "expired_at": _moment(facts.expired_at),
        "cancelling_at": _moment(facts.cancelling_at),
        "cancelled_at": _moment(facts.cancelled_at),
        "request_counts": {"total": facts.total, "completed": facts.completed, "failed": facts.failed},
        "usage": _batch_usage(facts.usage),
        "metadata": dict(facts.metadata) or None,
    }


def _moment(at: float | None) -> int | None:
    return None if at is None else int(at)


def _errors(refusals: Sequence[Refusal]) -> dict[str, object] | None:
    if not refusals:
        return None
    entries = [
        {"code": refusal.code, "message": refusal.message, "param": refusal.param, "line": refusal.line}
        for refusal in refusals[:ERRORS_MAX]
    ]
    return {"object": "list", "data": entries}


def _batch_usage(totals: TokenTotals | None) -> dict[str, object] | None:
    if totals is None:
        return None
    return {
        "input_tokens": totals.prompt_tokens,
        "input_tokens_details": {"cached_tokens": totals.cached_tokens},
        "output_tokens": totals.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": totals.reasoning_tokens},
        "total_tokens": totals.prompt_tokens + totals.completion_tokens,
    }
