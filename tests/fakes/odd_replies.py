"""What a model server should not say: replies by chance, from the sound one to bytes that are no HTTP.

SUMMARY
    odd = OddReplies(seed)
    odd.ollama(asked), odd.llamacpp(asked)    the bytes of one reply; `odd.given` counts the odd ones

    The same seed and the same questions give the same replies. An error may quote the request, as servers do.

DIAGNOSTICS
    None.
"""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.odd_server import Asked, plain

MODEL = "odd:1b"
DIMENSIONS = 4

#: Shares of the replies to requests; and to canaries and questions about the server itself: without a load
#: that is proven, nothing runs.
SOUND, SOUND_CONTROL = 0.3, 0.85

#: Share of what breaks a connection, or says that memory is short: each costs a load.
DEADLY = 0.004

_DEEP = "[" * 900 + "]" * 900

#: Values in place of others, as JSON text; the last ones are no JSON.
FRAGMENTS = (
    *("null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "2147483649", "1000000000000000000"),
    *("9" * 40, "9" * 5_000, "1e308", "-1e308", "1e39", "1e-400", '""', '"5"', '"stop"', '"\\u0000"'),
    *(
        '"\\u001b[2J\\u202e"',
        json.dumps("x" * 20_000),
        "[]",
        "{}",
        "[null]",
        '["a"]',
        '{"a":1}',
        "[[1]]",
        _DEEP,
    ),
    *('{"a":' + _DEEP + "}", "NaN", "-Infinity", "1e999", '"\\ud83d"', "01", "'a'", '"\udcff"', ""),
)

_PAGES = (
    "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    "upstream connect error or disconnect/reset before headers",
    "",
    "\x00\x01\x02",
    "{",
    "null",
    "x" * 100_000,
    '{"error": ' + _DEEP + "}",
    '{"error": {"message": ["a"], "type": {}, "code": "x"}}',
    '{"error": {"message": "m", "type": "exceed_context_size_error", "n_prompt_tokens": -1, "n_ctx": "9"}}',
    '{"error": "request (' + "9" * 5_000 + ' tokens) exceeds the available context size (4 tokens)"}',
    '{"error": "input (99999999999 tokens) is too large to process (current batch size: 1)"}',
    '{"error": "model requires ' + "but only " * 2_000 + '"}',
)

_STATUSES = (
    201,
    204,
    206,
    301,
    304,
    307,
    400,
    404,
    408,
    413,
    418,
    422,
    429,
    451,
    500,
    501,
    502,
    503,
    504,
    599,
)

_DEADLY = (
    b"",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{",
    b"\x00\xff\xfe garbage",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
    plain(500, {"error": "llama runner process has terminated: exit status 2"}, Connection="close"),
    plain(500, {"error": "cudaMalloc failed: out of memory"}, Connection="close"),
    plain(401, {"error": "unauthorized"}, Connection="close"),
)


class OddReplies:
    """One server's mood."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.given = 0
        self.total = 0

    def ollama(self, asked: Asked) -> bytes:
        """Of an Ollama."""
        return self._said(
            asked, _ollama(asked), asked.path in ("/api/chat", "/api/embed") or _is_prompt(asked)
        )

    def llamacpp(self, asked: Asked) -> bytes:
        """Of a llama-server."""
        return self._said(asked, _llamacpp(asked), asked.path.startswith("/v1/") and asked.method == "POST")

    def _said(self, asked: Asked, sound: dict[str, Any], is_request: bool) -> bytes:
        chance = self._random
        self.total += 1
        is_load = asked.path == "/api/embed" and not asked.body.get("input")
        is_canary = is_request and "ready" in json.dumps(asked.body)
        if chance.random() < (SOUND_CONTROL if is_load or is_canary or not is_request else SOUND):
            return plain(200, sound)
        self.given += 1
        if is_request and chance.random() < DEADLY:
            return chance.choice(_DEADLY)
        make: Callable[[Asked, dict[str, Any]], bytes] = chance.choices(
            (self._changed, self._any, self._broken, self._error, self._head), (50, 10, 15, 20, 5)
        )[0]
        return make(asked, sound)

    def _changed(self, asked: Asked, sound: dict[str, Any]) -> bytes:
        """One value of a sound reply is another, or two are."""
        raw = json.dumps(sound)
        for _ in range(self._random.choice((1, 1, 2))):
            marked = json.loads(raw) if _is_json(raw) else sound
            self._mark(marked)
            fragment = self._random.choice(FRAGMENTS)
            raw = json.dumps(marked).replace(f'"{_MARK}"', fragment, 1)
        return plain(200, raw.encode("utf-8", "surrogateescape"))

    def _mark(self, value: Any) -> None:
        """Some value inside of this, or a key without one."""
        while isinstance(value, dict | list) and value:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            key: Any = self._random.choice(list(keys))
            if not isinstance(value[key], dict | list) or not value[key] or self._random.random() < 0.3:
                value[key] = _MARK
                return
            value = value[key]

    def _any(self, asked: Asked, sound: dict[str, Any]) -> bytes:
        return plain(200, self._random.choice(FRAGMENTS).encode("utf-8", "surrogateescape"))

    def _broken(self, asked: Asked, sound: dict[str, Any]) -> bytes:
        """A sound reply that is cut, doubled, or has a byte of something else."""
        raw = bytearray(json.dumps(sound).encode())
        match self._random.randrange(4):
            case 0:
                del raw[self._random.randrange(len(raw)) :]
            case 1:
                raw[self._random.randrange(len(raw))] = self._random.randrange(256)
            case 2:
                raw += b"\n" + raw
            case _:
                raw[:0] = self._random.randbytes(3)
        return plain(200, bytes(raw))

    def _error(self, asked: Asked, sound: dict[str, Any]) -> bytes:
        """A status that is none of success, with a text that may quote."""
        status = self._random.choice(_STATUSES)
        if self._random.random() < 0.5:
            body: object = {"error": f"cannot take {json.dumps(asked.body)[:400]}"}
        else:
            body = self._random.choice(_PAGES)
        headers = (
            {"Retry_After": self._random.choice(("0", "-1", "9" * 40, "soon"))}
            if status in (429, 503)
            else {}
        )
        if status in (204, 304):
            return f"HTTP/1.1 {status} None\r\nConnection: close\r\n\r\n".encode()
        return plain(status, body, **headers)

    def _head(self, asked: Asked, sound: dict[str, Any]) -> bytes:
        """Around a sound body, a head that is not."""
        headers: Mapping[str, str] = self._random.choice(
            (
                {"Content_Encoding": "gzip"},
                {"Content_Encoding": "br, gzip"},
                {"Set_Cookie": "a=" + "b" * 4_000},
                {"X_Long": "y" * 60_000},
                {f"X_{number}": "z" * 50 for number in range(150)},
                {"Content_Type": "text/html; charset=utf-99"},
            )
        )
        return plain(200, sound, **headers)


_MARK = "@here@"


def _is_json(raw: str) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _is_prompt(asked: Asked) -> bool:
    return asked.path == "/api/generate" and bool(asked.body.get("prompt"))


def _vectors(asked: Asked) -> list[list[float]]:
    return [[0.25] * DIMENSIONS for _ in asked.body["input"]]


def _ollama(asked: Asked) -> dict[str, Any]:
    details = {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_1"}
    listed = {
        "name": MODEL,
        "model": MODEL,
        "digest": "0" * 64,
        "details": details,
        "size": 700,
        "size_vram": 700,
    }
    counts = {
        "done": True,
        "done_reason": "stop",
        "load_duration": 1_000,
        "prompt_eval_count": 20,
        "prompt_eval_cached_count": 5,
        "prompt_eval_duration": 1_000_000,
        "eval_count": 2,
        "eval_duration": 1_000_000,
    }
    match asked.path:
        case "/api/version":
            return {"version": "0.33.3"}
        case "/api/tags" | "/api/ps":
            return {"models": [listed]}
        case "/api/show":
            facts = {"general.architecture": "llama", "llama.context_length": 8_192}
            return {"details": details, "model_info": facts, "capabilities": ["completion"]}
        case "/api/embed":
            return {"model": MODEL, "embeddings": _vectors(asked), "prompt_eval_count": 3, "load_duration": 1}
        case "/api/chat":
            return {"model": MODEL, "message": {"role": "assistant", "content": "yes"}, **counts}
        case _:
            return {"model": MODEL, "response": "yes", **counts}


def _llamacpp(asked: Asked) -> dict[str, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
    timings = {"cache_n": 5, "prompt_n": 15, "prompt_ms": 1.0, "predicted_n": 2, "predicted_ms": 1.5}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    match asked.path.partition("?")[0]:
        case "/props":
            return {
                "default_generation_settings": {"n_ctx": 4_096},
                "total_slots": 16,
                "model_ftype": "Q4_1",
                "model_path": f"/models/{MODEL}.gguf",
                "chat_template": "{{ messages }}",
                "build_info": "b1",
            }
        case "/v1/models":
            return {"data": [{"id": MODEL, "aliases": [], "meta": {"n_ctx_train": 8_192}}]}
        case "/v1/chat/completions":
            message = {"role": "assistant", "content": "yes"}
            return {"choices": [{**choice, "message": message}], "usage": usage, "timings": timings}
        case "/v1/completions":
            return {"choices": [{**choice, "text": "yes"}], "usage": usage, "timings": timings}
        case "/v1/embeddings":
            rows = [{"index": at, "embedding": vector} for at, vector in enumerate(_vectors(asked))]
            return {"data": rows, "usage": usage}
        case "/tokenize":
            return {"tokens": [1, 2, 3]}
        case "/apply-template":
            return {"prompt": "<|user|>yes"}
        case _:
            return {"status": "ok"}
