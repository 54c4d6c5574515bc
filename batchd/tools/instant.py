"""Instant: a model server without a model, which answers at once, or after a jittered delay.

SUMMARY
    `python -m batchd.tools.instant MODEL DELAY_S` is the server. It prints its address, then one line of
    counts for each line that it reads: what was since the last `reset`. It ends with its standard input.
    `Instant` starts it, asks it and ends it.

    Moments are of the monotonic clock, which all processes of a machine share.

DIAGNOSTICS
    Fatal: BatchdError when it does not start, or does not answer.
    Bug: a call that batchd makes and the server does not know is answered with 404, and counted.
"""

import asyncio
import random
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, cast

from batchd.core.json import dumps, loads
from batchd.edges.ollama.standin import ANSWERED, replies
from batchd.errors import BatchdError

#: Arrivals that are told one by one: the canary and the first requests.
FIRST_KEPT = 8

#: The delay is between half and one and a half times what was asked for.
JITTER = (0.5, 1.5)

START_S = 30.0
STOP_S = 10.0

_SEED = 20_261_121


@dataclass(slots=True)
class Told:
    """What came since the last reset: requests, the first arrivals, and when the last answer went out."""

    requests: int = 0
    answered: int = 0
    unknown: int = 0
    first: list[float] = field(default_factory=list)
    last_at: float = 0.0


class Instant:
    """The server, started with the block and ended with it."""

    def __init__(self, model: str, delay_s: float = 0.0) -> None:
        command = [sys.executable, "-P", "-m", "batchd.tools.instant", model, repr(delay_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = ""

    def __enter__(self) -> "Instant":
        self.address = self._line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._process.stdout.close()

    def told(self) -> Told:
        """The counts as they are now."""
        return self._ask("told")

    def reset(self) -> Told:
        """The counts; they begin again."""
        return self._ask("reset")

    def _ask(self, word: str) -> Told:
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()
        told: Any = loads(self._line().encode())
        return Told(**told)

    def _line(self) -> str:
        assert self._process.stdout is not None, "it is a pipe"
        readable, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            raise BatchdError("The instant server of this measurement does not answer.", "Try again.")
        return line.decode().strip()


class _Connection(asyncio.Protocol):
    """One client. A request is answered when it is whole; one at a time, as clients do it."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:head_end])
            end = head_end + 4 + _length(head)
            if len(self._buffer) < end:
                return
            del self._buffer[:end]
            method, path, _ = head.split(b" ", 2)
            self._server.answer(self._transport, (method, path))


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 :].split(b"\r", 1)[0])


class _Server:
    """The counts and the bodies."""

    def __init__(self, model: str, delay_s: float) -> None:
        self._delay_s = delay_s
        self._chance = random.Random(_SEED)
        self._loop = asyncio.get_running_loop()
        self._told = Told()
        self._bodies = {
            call: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
            for call, body in replies(model).items()
        }

    def answer(self, transport: asyncio.Transport, call: tuple[bytes, bytes]) -> None:
        body = self._bodies.get(call)
        if body is None:
            self._told.unknown += 1
            transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif call != ANSWERED:
            transport.write(body)
        else:
            self._told.requests += 1
            if len(self._told.first) < FIRST_KEPT:
                self._told.first.append(time.perf_counter())
            if self._delay_s:
                delay_s = self._delay_s * self._chance.uniform(*JITTER)
                self._loop.call_later(delay_s, self._write, transport, body)
            else:
                self._write(transport, body)

    def _write(self, transport: asyncio.Transport, body: bytes) -> None:
        transport.write(body)
        self._told.answered += 1
        self._told.last_at = time.perf_counter()

    def obey(self, word: str) -> bytes:
        """One line for one line."""
        told = self._told
        if word == "reset":
            self._told = Told()
        return dumps(asdict(told)) + b"\n"


async def _serve(model: str, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = _Server(model, delay_s)
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()[:2]
    ended = loop.create_future()

    def read() -> None:
        line = sys.stdin.buffer.readline()
        if line:
            _say(server.obey(line.decode().strip()))
        elif not ended.done():
            ended.set_result(None)

    _say(f"http://{host}:{port}\n".encode())
    loop.add_reader(sys.stdin.fileno(), read)
    await ended
    listener.close()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
