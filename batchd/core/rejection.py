"""Rejection: an answer that is not what was asked for, as it is kept.

SUMMARY
    In the journal it stands below the error line of its request, as a second line of the same outcome, so
    that what is durable of the one is durable of the other. In the results it is a line of `rejected.jsonl`.

DIAGNOSTICS
    None: values in, values out.
"""

from batchd.core.fault import Rejected
from batchd.core.json import dumps_line

#: Characters of a rejected answer that are kept: more than a person reads to see what went wrong.
REJECTED_CHARS_MAX = 65_536


def with_rejected(line: bytes, rejected: bytes) -> bytes:
    """One outcome of two lines; neither of them has an end of line in it."""
    return line + b"\n" + rejected


def parted(outcome: bytes) -> tuple[bytes, bytes | None]:
    """The line of an outcome, and the rejected answer below it where there is one."""
    line, separator, rejected = outcome.partition(b"\n")
    return line, rejected if separator else None


def why_of(rejected: Rejected) -> dict[str, object]:
    """What error line and kept answer both say of it."""
    breach = rejected.breach
    return {"reason": breach.reason.value, "path": breach.path or None, "keyword": breach.keyword or None}


def kept_line(custom_id: str, code: str, message: str, rejected: Rejected) -> bytes:
    """The line of `rejected.jsonl`: what is wrong, and the answer that was given last."""
    head = {"custom_id": custom_id, "code": code, "message": message}
    return dumps_line({**head, **why_of(rejected), **kept_of(rejected)})


def kept_of(rejected: Rejected) -> dict[str, object]:
    """The answer; `characters` says how long it was where it is not all there."""
    text, reasoning = rejected.text, rejected.reasoning or ""
    message: dict[str, object] = {"role": "assistant", "content": text[:REJECTED_CHARS_MAX], "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning[:REJECTED_CHARS_MAX]
    body: dict[str, object] = {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": rejected.finish_reason}
        ],
        "usage": {
            "prompt_tokens": rejected.prompt_tokens,
            "completion_tokens": rejected.completion_tokens,
            "total_tokens": rejected.prompt_tokens + rejected.completion_tokens,
        },
    }
    is_whole = max(len(text), len(reasoning)) <= REJECTED_CHARS_MAX
    return {"body": body} if is_whole else {"body": body, "characters": len(text)}
