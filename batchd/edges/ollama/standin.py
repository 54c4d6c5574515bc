"""Standin: what an Ollama says, for a server that stands in its place when batchd itself is measured.

SUMMARY
    `replies` has one body for each call that batchd makes. No model is behind them: the same answer to every
    question, with the same counts.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Mapping

from batchd.core.json import dumps

#: Told in the results of whoever is measured, so that no figure is taken for a model's.
VERSION = "instant server"

ANSWER = "resale: it was never opened"

#: Fewer than any estimate, so that no window is refitted on the way.
_PROMPT_TOKENS, _CACHED_TOKENS, _ANSWER_TOKENS = 48, 32, 8

_NS_PER_TOKEN = 1_000


def replies(model: str) -> Mapping[tuple[bytes, bytes], bytes]:
    """Bodies by method and path."""
    details = {"family": "llama", "parameter_size": "0", "quantization_level": "none"}
    listed = {"name": model, "model": model, "digest": "0" * 64, "details": details}
    answer = {
        "model": model,
        "message": {"role": "assistant", "content": ANSWER},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": _PROMPT_TOKENS,
        "prompt_eval_cached_count": _CACHED_TOKENS,
        "prompt_eval_duration": (_PROMPT_TOKENS - _CACHED_TOKENS) * _NS_PER_TOKEN,
        "eval_count": _ANSWER_TOKENS,
        "eval_duration": _ANSWER_TOKENS * _NS_PER_TOKEN,
    }
    bodies: dict[tuple[bytes, bytes], object] = {
        (b"GET", b"/api/version"): {"version": VERSION},
        (b"GET", b"/api/tags"): {"models": [listed]},
        (b"GET", b"/api/ps"): {"models": [listed]},
        (b"POST", b"/api/show"): {"details": details, "model_info": {}, "capabilities": ["completion"]},
        (b"POST", b"/api/generate"): {"model": model, "response": "", "done": True, "done_reason": "load"},
        ANSWERED: answer,
    }
    return {call: dumps(body) for call, body in bodies.items()}


#: The call that is a request; the others are about the server.
ANSWERED = (b"POST", b"/api/chat")
