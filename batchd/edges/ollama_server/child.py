"""The process of our own Ollama: its last lines, whether it has ended, and how it is ended.

SUMMARY
    spawn    starts the program in a process group of its own; the kernel ends it when our process ends
    Child    lines of its log (bounded), `wait`, `send`, `kill_group`

    Runners that outlive it are killed at once: they would hold the GPU's memory.

    That the kernel ends it must be said by the child itself, before it becomes the program. It is said by a
    small Python of its own: what runs between fork and exec in a process with threads may wait for ever for a
    lock that one of them held.

DIAGNOSTICS
    OSError: the program cannot be started; where only the kernel finds that out, `was_refused` says so.
"""

import asyncio
import errno
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from loguru import logger

#: Lines of its log that are kept to explain a death.
LOG_LINES_MAX = 200

#: A line without an end is cut here: the log must not grow in memory.
LOG_LINE_BYTES_MAX = 16_384

#: The exit status of a child that could not become the program, as a shell has it.
_REFUSED = 126

#: Asks the kernel for SIGTERM (so that the program takes its runners along) at the death of who started it,
#: and becomes the program. The other one may have died before it was asked.
_BECOME = f"""
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    os._exit(0)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(error.strerror, flush=True)
    os._exit({_REFUSED})
"""


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

    @property
    def was_refused(self) -> bool:
        """Whether the kernel would not run the program; the last line says why."""
        return self.has_exited and self.transport.get_returncode() == _REFUSED

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
        *(sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid())),
        _program(binary, environment),
        "serve",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        process_group=0,
    )
    child.transport = transport
    return child


def _program(binary: str, environment: Mapping[str, str]) -> str:
    """Its path, by the PATH that it will have."""
    found = shutil.which(binary, path=environment.get("PATH", os.defpath))
    if found is None:
        number = errno.EACCES if os.path.lexists(binary) else errno.ENOENT
        raise OSError(number, os.strerror(number), binary)
    return found
