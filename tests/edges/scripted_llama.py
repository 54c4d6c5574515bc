"""A small HTTP server that answers as a test says, and remembers what it was asked. For `edges/llamacpp`."""

import asyncio
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

PROPS: dict[str, Any] = {
    "default_generation_settings": {"n_ctx": 1024},
    "total_slots": 2,
    "model_ftype": "Q4_1",
    "model_path": "/models/tiny.Q4_1.gguf",
    "chat_template": "{{ messages }}",
    "build_info": "b42-abc",
}

MODELS: dict[str, Any] = {
    "data": [{"id": "tiny", "aliases": ["little"], "meta": {"n_ctx": 1024, "n_ctx_train": 8192, "size": 7}}]
}

TIMINGS = {"cache_n": 30, "prompt_n": 12, "prompt_ms": 120.0, "predicted_n": 5, "predicted_ms": 50.0}


def chat_reply(text: str = "yes", finish_reason: str = "stop", **message: object) -> dict[str, Any]:
    """A 200 as llama-server writes it."""
    return {
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"content": text, **message}},
        ],
        "usage": {"prompt_tokens": 42, "completion_tokens": 5, "total_tokens": 47},
        "timings": TIMINGS,
    }


@dataclass
class Asked:
    """One request that came in."""

    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class ScriptedLlama:
    """Paths to (status, body). A status of 0 closes the connection, one below 0 never answers."""

    replies: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self.replies.setdefault("/props", (200, PROPS))
        self.replies.setdefault("/v1/models", (200, MODELS))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head.split(" ")[1]
        self.asked.append(Asked(path, json.loads(raw) if raw else None, headers))
        status, body = self.replies.get(path, (404, {"error": {"message": "File Not Found", "code": 404}}))
        if status < 0:
            await reader.read()
        elif status > 0:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
        writer.close()


@dataclass
class ScriptedChild:
    """A child that is only said to live. `code` and `reason` tell how it ended."""

    address: str
    key: str = "secret"
    code: int | None = None
    reason: str = ""
    stopped: int = 0
    pid: int = 0

    def exit_code(self) -> int | None:
        return self.code

    def exit_reason(self) -> str:
        return self.reason

    def kill(self) -> None:
        self.code = -9

    async def stop(self) -> None:
        self.stopped += 1
        self.code = 0 if self.code is None else self.code
