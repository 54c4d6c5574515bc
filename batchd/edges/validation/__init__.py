"""Validation: schemas and answers of strangers, looked at in a process that can be ended.

SUMMARY
    `Validation` holds one child (`child`), started when it is first needed. A schema can be made that is
    read, or an answer that is held against it, for hours and with all the memory there is, and a library
    cannot be stopped in the middle. A process can: a look may take `CPU_S` of processor time, so a busy
    machine makes no difference, and a bounded amount of memory.

    refusal   whether a schema can be used, for intake; blocking
    breach    what is wrong with a value, for the event loop: it waits in a thread of its own

    Measured: 0.3 ms of processor time for an answer, of both processes and the threads together.

DIAGNOSTICS
    Warning: none here; a look that was ended is told as a breach or a refusal.
    Fatal: UnavailableError where no child can be started, after some tries, or none answers.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from batchd.core.json import loads
from batchd.core.schema import Breach, Reason
from batchd.core.sieve import Looked
from batchd.edges.validation.child import HEAD, LENGTH, Wanted
from batchd.errors import UnavailableError

#: Processor time for one look. An honest schema is read in a millisecond, an answer checked in less; half a
#: megabyte of patterns is read in half a second.
CPU_S = 2.0

#: The longest wait for one look: the machine may be busy, and a child that was stopped never answers.
LOOK_TIMEOUT_S = 120.0

#: A machine that is short of processes or memory for a moment has them again within these pauses.
START_PAUSES_S = (0.1, 0.3, 1.0, 3.0, 10.0)

#: How long a child that closed its line may take to end, so that its own end is not taken for a kill of ours.
END_S = 5.0

#: The text of a schema. OpenAI takes 120,000 characters of names and values.
SCHEMA_BYTES_MAX = 2**20

#: `-P` keeps the working directory out of the module path.
COMMAND = (sys.executable, "-P", "-m", "batchd.edges.validation.child")

_PACKAGE = str(Path(__file__).resolve().parents[3])

_TOO_LONG = "it cannot be held against its schema in {cpu_s:g} s of processor time"


class _GoneError(Exception):
    """The child ended over a look."""


class Validation:
    """Fits the port `Schemas`. `close` ends the child; the next look would start another."""

    def __init__(self, cpu_s: float = CPU_S, command: Sequence[str] = COMMAND) -> None:
        self._cpu_s = cpu_s
        self._command = command
        self._one = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "validation")
        self._child: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Validation: {'no child' if self._child is None else f'child {self._child.pid}'}>"

    def refusal(self, schema: bytes) -> Looked:
        """Why this schema cannot be used, and what it took to find out."""
        if len(schema) > SCHEMA_BYTES_MAX:
            return Looked(f"it is longer than {SCHEMA_BYTES_MAX} bytes", 0.0)
        try:
            told = self._ask(Wanted.READ, schema, b"")
        except _GoneError:
            return Looked(f"it cannot be read in {self._cpu_s:g} s of processor time", self._cpu_s)
        return Looked(told.get("fault"), told["cpu_s"])

    async def breach(self, schema: bytes, value: bytes) -> Breach | None:
        """What is wrong with this value, which is JSON."""
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._breach, schema, value)
        return await call

    def _breach(self, schema: bytes, value: bytes) -> Breach | None:
        try:
            told = self._ask(Wanted.REASON, schema, value)
        except _GoneError:
            return self._verdict(schema, value)
        if (fault := told.get("fault")) is not None:  # intake took it, so another batchd's did
            return Breach(Reason.SCHEMA, f"its schema cannot be used: {fault}", "$", "$schema")
        found = told.get("breach")
        return None if found is None else Breach(**{**found, "reason": Reason(found["reason"])})

    def _verdict(self, schema: bytes, value: bytes) -> Breach | None:
        """To say why may take longer than to see that it does not hold."""
        try:
            told = self._ask(Wanted.VERDICT, schema, value)
        except _GoneError:
            return Breach(Reason.SCHEMA, _TOO_LONG.format(cpu_s=self._cpu_s), "$", "")
        if told.get("holds"):
            return None
        text = f"it does not hold; where, cannot be found in {self._cpu_s:g} s of processor time"
        return Breach(Reason.SCHEMA, text, "$", "")

    def close(self) -> None:
        """End the child, as its closed socket does by itself."""
        self._thread.shutdown(wait=True)
        with self._one:
            self._end()

    def _ask(self, wanted: Wanted, schema: bytes, value: bytes) -> dict[str, Any]:
        """What the child says. One that ended for no reason of the look's is replaced, and asked again: once,
        and after each pause where it was killed, which its own limits never do."""
        with self._one:
            for pause_s in (0.0, *START_PAUSES_S, None):
                is_last = pause_s != 0.0
                line = self._line or self._start()
                try:
                    line.sendall(HEAD.pack(wanted, len(schema), len(value)) + schema + value)
                    return _said(line)
                except TimeoutError as error:
                    self._end()
                    if is_last:
                        raise UnavailableError(
                            f"The process that checks answers said nothing for {LOOK_TIMEOUT_S:.0f} s.",
                            "Is the machine far too busy? Start batchd again; nothing is lost.",
                        ) from error
                except OSError as error:
                    code = self._end(END_S)
                    was_killed = code == -signal.SIGKILL and pause_s is not None
                    if code == -signal.SIGPROF or (is_last and not was_killed):
                        raise _GoneError from error
                    time.sleep(pause_s or 0.0)
            raise AssertionError("the last time it was answered or raised")

    def _start(self) -> socket.socket:
        """A child that is ready."""
        for pause_s in (*START_PAUSES_S, None):
            try:
                self._line = self._spawn()
                _said(self._line)
                return self._line
            except OSError as error:
                code = self._end()
                if pause_s is None:
                    how = error.strerror or f"it ended with status {code}"
                    raise UnavailableError(
                        f"The process that checks answers cannot be started: {how}.",
                        "Free some memory or processes, and start batchd again; nothing is lost.",
                    ) from error
                time.sleep(pause_s)
        raise AssertionError("the last of the pauses is None")

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(LOOK_TIMEOUT_S)
        with theirs:
            try:
                self._child = subprocess.Popen(
                    (*self._command, f"{self._cpu_s:g}"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    cwd="/",
                    start_new_session=True,  # Ctrl-C in a terminal is for the daemon, which drains
                )
            except OSError:
                ours.close()
                raise
        return ours

    def _end(self, wait_s: float = 0.0) -> int | None:
        """No child, and its exit status if there was one; it may take so long to end by itself."""
        line, child, self._line, self._child = self._line, self._child, None, None
        if line is not None:
            line.close()
        if child is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(wait_s)
        child.kill()
        return child.wait()


def _said(line: socket.socket) -> dict[str, Any]:
    """One answer of the child. OSError where it has ended."""
    (length,) = LENGTH.unpack(_exactly(line, LENGTH.size))
    told = loads(_exactly(line, length))
    assert isinstance(told, dict), "parent and child are of one version"
    return told


def _exactly(line: socket.socket, count: int) -> bytes:
    """So many bytes. OSError where the other end is closed before."""
    parts = bytearray()
    while len(parts) < count:
        part = line.recv(count - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)


def _environment() -> dict[str, str]:
    """Nothing of ours but where modules are found: here, and so there."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (_PACKAGE, *sys.path)))}
