"""The process of our own Ollama: its last lines, whether it has ended, and how it is ended.

SUMMARY
    spawn    starts the program in a process group of its own; the kernel ends it when our process ends
    Child    lines of its log (bounded), `wait`, `send`, `kill_group`

    Runners that outlive it are killed at once: they would hold the GPU's memory.

DIAGNOSTICS
    OSError: the program cannot be started.
"""

import asyncio
import ctypes
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from loguru import logger

#: Lines of its log that are kept to explain a death.
LOG_LINES_MAX = 200

#: A line without an end is cut here: the log must not grow in memory.
LOG_LINE_BYTES_MAX = 16_384

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Child(asyncio.SubprocessProtocol):
    """The process: its last lines, and whether it has ended."""

    transport: asyncio.SubprocessTransport

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self.lines: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self.has_exited = False
        self.pid = 0
        self._rest = b""
        self._exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pid = cast("asyncio.SubprocessTransport", transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LOG_LINE_BYTES_MAX:]
        for line in lines:
            text = line.decode(errors="replace")
            self.lines.append(text)
            self._on_line(text)
            logger.bind(event="ollama_log").debug("ollama: {}", text)

    def process_exited(self) -> None:
        self.has_exited = True
        self.kill_group()
        self._exited.set()

    def send(self, number: signal.Signals) -> None:
        if not self.has_exited:
            with suppress(ProcessLookupError):
                self.transport.send_signal(number)

    def kill_group(self) -> None:
        """Runners too. The group keeps its number while one of it lives."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.transport.close()


async def spawn(binary: str, environment: Mapping[str, str], on_line: Callable[[str], None]) -> Child:
    transport, child = await asyncio.get_running_loop().subprocess_exec(
        lambda: Child(on_line),
        binary,
        "serve",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        process_group=0,
        preexec_fn=_die_with_parent,
    )
    child.transport = transport
    return child


def _die_with_parent() -> None:
    """Runs in the child before the program. SIGTERM, so that it takes its runners along."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
