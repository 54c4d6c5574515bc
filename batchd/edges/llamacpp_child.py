"""llama.cpp's own server, in a child process of ours: a crash in it takes the child and not the daemon.

SUMMARY
    `python -m batchd.edges.llamacpp_child` is the child. It reads one line of settings from standard input,
    loads the model, prints one line `{"address": ...}`, and serves until standard input closes. It dies with
    its parent, whatever ends that: standard input closes, and the kernel sends SIGKILL.
    `LlamaChild` is the parent's half, `start_child` the door for the app. One child for each load.

    The settings go through standard input because a command line, with the key in it, is for everyone to
    read. The child is exec'd, with no descriptor of ours, and without systemd's variables, so that it can
    neither hold our locks nor speak to the service manager in our name.

DIAGNOSTICS
    Fatal: none; TimeoutError at the deadline, else a child whose `exit_code` and `exit_reason` tell all.
    Warning: a child that does not end when asked is killed; said in the log.
    Bug: `start` was called twice.
"""

import asyncio
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from loguru import logger

from batchd.core.json import dumps, loads
from batchd.core.model import Load

#: How a child is started. `-P` keeps the working directory out of the module path.
COMMAND = (sys.executable, "-P", "-m", "batchd.edges.llamacpp_child")

#: What a child must not inherit: it would answer systemd in our name.
WITHHELD = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"})

#: One line of settings, one line of answer: a path and an address are shorter than this.
LINE_BYTES_MAX = 64 * 2**10

#: The last lines of standard error that are kept (the texts of a failed allocation are a dozen), and how
#: much of one line.
KEPT_LINES = 200
KEPT_LINE_BYTES = 2_000

#: How many of them tell how it ended: older ones are of trouble that it got over.
REASON_LINES = 30

#: A child ends within milliseconds of its standard input; one that hangs in the driver never does.
STOP_S = 5.0

#: A killed child with 16 GB of pages is gone within a second or two.
KILL_S = 15.0

#: Threads that calculate; -1: one for each core.
THREADS = -1

#: llama.cpp's log: errors and warnings. Below that it writes eight lines for each request.
VERBOSITY_WARNINGS = 2

#: How far into a GGUF file its metadata reaches at most: vocabularies take some megabytes.
GGUF_METADATA_BYTES_MAX = 64 * 2**20

#: Exit status of a child that has no engine (EX_UNAVAILABLE).
EXIT_ENGINE_MISSING = 69

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What the child is told. `window_tokens` is one slot's.

    `snapshots_in`: the directory in which slots are saved, ending with a slash; empty: they are not.
    `cache_ram_mib`: host memory in which llama.cpp may keep the prefixes of slots that changed their group.
    """

    gguf: str
    slots: int
    window_tokens: int
    key: str
    is_embedding: bool = False
    cache_ram_mib: int = 0
    threads: int = THREADS
    snapshots_in: str = ""


class LlamaChild:
    """The parent's half of one child. To be started from a thread that lives on: PDEATHSIG is per thread."""

    def __init__(self, settings: ChildSettings, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._drain = threading.Thread(target=self._keep_last_lines, name="llamacpp-stderr", daemon=True)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.key = settings.key
        self.address = ""

    def __repr__(self) -> str:
        return f"<LlamaChild {self.address or 'without address'}>"

    @property
    def pid(self) -> int:
        return self._running().pid

    async def start(self, timeout_s: float) -> None:
        """Returns when it listens or has ended instead. TimeoutError: it did neither and is gone."""
        self._spawn()
        try:
            async with asyncio.timeout(timeout_s):
                line = await asyncio.to_thread(self._introduce)
                if not line:
                    await self.stop()
        except BaseException:
            self.kill()
            await self.stop()
            raise
        self.address = str(_object(line)["address"]) if line else ""

    def exit_code(self) -> int | None:
        """None while it lives; negative when a signal ended it."""
        return self._running().poll()

    def exit_reason(self) -> str:
        """How it ended, and below that the last lines of its standard error."""
        code = self.exit_code()
        how = f"ended with status {code}" if code is not None else "has not ended"
        if code is not None and code < 0:
            how = f"ended by {signal.Signals(-code).name}"
        self._drain.join(timeout=1.0)
        return "\n".join([how, *list(self._lines)[-REASON_LINES:]])

    def kill(self) -> None:
        """End it now. `stop` still has to be awaited."""
        self._running().kill()

    async def stop(self, timeout_s: float = STOP_S) -> None:
        """Ask it to end, make it end, and forget its pipes. May be called again."""
        process = self._running()
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it had ended with our last bytes unread; closed all the same
                process.stdin.close()
        if process.stdout is not None:
            process.stdout.close()
        for limit_s in (timeout_s, KILL_S):
            try:
                await asyncio.to_thread(process.wait, limit_s)
                return
            except subprocess.TimeoutExpired:
                logger.bind(event="llama_cpp_killed").warning(
                    "llama.cpp's process {} has not ended in {} s: killing it", process.pid, limit_s
                )
                process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the child was not started"
        return self._process

    def _spawn(self) -> None:
        assert self._process is None, "the child was started before"
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(os.environ),
            cwd="/",
            close_fds=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the daemon, which drains
        )
        self._drain.start()

    def _introduce(self) -> bytes:
        """Hand in the settings and wait for the answer; empty when the child ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(dumps(asdict(self._settings)) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return b""
        return process.stdout.readline(LINE_BYTES_MAX)

    def _keep_last_lines(self) -> None:
        """Read standard error to its end: a full pipe would block the child."""
        stream = self._running().stderr
        assert stream is not None
        with stream:
            while line := stream.readline(KEPT_LINE_BYTES):
                self._lines.append(line.decode(errors="replace").rstrip())


async def start_child(
    gguf: Path,
    load: Load,
    timeout_s: float,
    *,
    command: Sequence[str] = COMMAND,
    cache_ram_mib: int = 0,
    threads: int = THREADS,
    snapshots_in: Path | None = None,
) -> LlamaChild:
    """A child that listens, or one that has ended (`exit_code` is then not None)."""
    settings = ChildSettings(
        gguf=str(gguf.resolve()),
        slots=load.slots,
        window_tokens=load.window_tokens,
        key=secrets.token_urlsafe(32),
        is_embedding=load.is_embedding,
        cache_ram_mib=cache_ram_mib,
        threads=threads,
        snapshots_in="" if snapshots_in is None else f"{snapshots_in}/",
    )
    child = LlamaChild(settings, command)
    await child.start(timeout_s)
    return child


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without systemd's variables, and with this very package first in the module path."""
    kept = {name: value for name, value in environment.items() if name not in WITHHELD}
    places = [str(Path(__file__).resolve().parents[2]), kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return kept


def _object(line: bytes) -> dict[str, Any]:
    value = loads(line)
    assert isinstance(value, dict), "parent and child are of one version"
    return value


def has_pooling(gguf: str) -> bool:
    """Whether the model says how its vectors are pooled; only then may llama.cpp decide by itself."""
    with Path(gguf).open("rb") as file:
        return b".pooling_type" in file.read(GGUF_METADATA_BYTES_MAX)


def _parameters(engine: ModuleType, settings: ChildSettings) -> object:
    params = engine.CommonParams()
    params.model.path = settings.gguf
    params.n_parallel = settings.slots
    params.n_ctx = settings.window_tokens * settings.slots
    params.kv_unified = False  # otherwise one long request takes the cells of the others
    params.ctx_shift = False  # nothing is ever cut
    params.fit_params = False  # what does not fit shall fail, and not move to the CPU in silence
    params.cache_ram_mib = settings.cache_ram_mib
    if settings.snapshots_in:
        params.slot_save_path = settings.snapshots_in
    params.port = 0
    params.api_keys = [settings.key]
    params.endpoint_slots = True
    params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.verbosity = VERBOSITY_WARNINGS
    if settings.is_embedding:
        params.embedding = True
        params.n_batch = params.n_ubatch = settings.window_tokens  # a text is embedded in one piece
        if not has_pooling(settings.gguf):
            params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


def main() -> int:
    """The child."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends it to all of us, and the daemon drains
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the engine prints must not stand in the answer
    line = sys.stdin.buffer.readline(LINE_BYTES_MAX)
    if not line:
        return 0
    try:
        import xllamacpp
    except ImportError as error:
        sys.stderr.write(f"llama.cpp is not installed ({error}): pip install 'batchd[embedded]'\n")
        return EXIT_ENGINE_MISSING
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, ChildSettings(**_object(line))))
    except RuntimeError as error:
        sys.exit(str(error))
    answer.write(dumps({"address": server.listening_address}) + b"\n")
    answer.close()
    sys.stdin.buffer.read()
    os._exit(0)  # the destructors would wait for requests that nobody waits for


if __name__ == "__main__":
    sys.exit(main())
