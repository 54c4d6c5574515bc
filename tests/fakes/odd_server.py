"""A server that says bytes: whatever a test has it say, at the pace that the test wants.

SUMMARY
    `say` is asked for each request (method, path, body) and yields the bytes of the whole reply, with its
    head. `plain` makes such bytes of a status and a body.

DIAGNOSTICS
    None: a client that has gone is no trouble.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

#: What says the bytes of one reply.
Say = Callable[["Asked"], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]


def plain(status: int, body: object, **headers: str) -> bytes:
    """One whole reply. Text and bytes go as they are, anything else as JSON."""
    if isinstance(body, str):
        body = body.encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Content-Length": str(len(content)),
        **{name.replace("_", "-"): headers[name] for name in headers},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode("latin-1") + content


async def once(content: bytes) -> AsyncIterator[bytes]:
    """All of it at a time."""
    yield content


@dataclass
class OddServer:
    """Listens on loopback while it is entered."""

    say: Say
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0
    address: str = ""

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in [task for task in self._tasks if task is not None]:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; whether the connection is good for another."""
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = head.split(" ")
        asked = Asked(method, path, json.loads(raw) if raw else None, headers)
        self.asked.append(asked)
        said = b""
        async for piece in self.say(asked):
            said = said or piece
            writer.write(piece)
            await writer.drain()
            self.sent_bytes += len(piece)
        return b"Content-Length" in said and b"Connection: close" not in said
