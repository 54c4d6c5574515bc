"""The smallest HTTP/1.1 server that keeps connections alive and notices a client that leaves.

SUMMARY
    One task per connection. When the client closes, that task is cancelled wherever it waits, so that the
    slot it held is free at once, as in Ollama. Chunked request bodies are not understood.

DIAGNOSTICS
    Bug: an exception in the route is answered with 500 and kept in `bugs`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    500: "Internal Server Error",
    501: "Not Implemented",
}
JSON = "application/json; charset=utf-8"

#: How long a stopping server waits for its connections to end.
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    body: bytes
    content_type: str = JSON


#: A route returns None to close the connection without an answer.
Route = Callable[[HttpRequest], Awaitable[HttpReply | None]]


class _Connection(asyncio.Protocol):
    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.task = asyncio.get_running_loop().create_task(self._serve())
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self.task.cancel()

    async def _serve(self) -> None:
        try:
            while True:
                request = await self._read()
                reply = await self._server.route(request)
                if reply is None:
                    self.transport.abort()
                    return
                self._write(reply)
        except Exception as error:  # noqa: BLE001 - a broken route must be seen by the test, not die unseen
            self._server.bugs.append(repr(error))
            self._write(HttpReply(500, b'{"error":"simulator: %s"}' % type(error).__name__.encode()))

    async def _read(self) -> HttpRequest:
        while (head_end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        head = bytes(self._buffer[:head_end])
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        start = head_end + 4
        end = start + _content_length(head)
        while len(self._buffer) < end:
            await self._more()
        body = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return HttpRequest(method, path, body)

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _write(self, reply: HttpReply) -> None:
        self.transport.write(
            f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Status')}\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n\r\n".encode()
            + reply.body
        )


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


class HttpServer:
    """Listens, stops, and listens again on the same port."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.connections: set[_Connection] = set()
        self.bugs: list[str] = []
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), host, port)
        return int(self._listener.sockets[0].getsockname()[1])

    def stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def abort_connections(self) -> set["asyncio.Task[None]"]:
        """Reset every connection; the tasks that end by it."""
        doomed = list(self.connections)
        for connection in doomed:
            connection.transport.abort()
        return {connection.task for connection in doomed}

    async def stop(self) -> None:
        self.stop_listening()
        if tasks := self.abort_connections():
            await asyncio.wait(tasks, timeout=STOP_S)
