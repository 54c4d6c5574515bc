"""A nursery of daemons: imports batchd once, then forks a daemon for each line on its standard input.

SUMMARY
    with Nursery() as nursery:
        daemon = nursery.bear(environment, log_path, order_path, arguments)
        daemon.wait_dead(10.0)

    A fork is a whole process of its own that runs `batchd.cli.main`; it only spares the half second of
    imports, so that hundreds of deaths fit into a test. Where `order_path` exists, it holds
    `NAME COUNT SIGNAL`, and the process sends itself that signal (SIGKILL, SIGSTOP) when it reaches that
    failpoint for that time. Names that were reached are listed beside it. `lies` are functions of `os` that
    only pretend to work: what a negative control breaks.

DIAGNOSTICS
    AssertionError: the nursery did not answer.
"""

import asyncio
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]

#: Importing takes half a second; a loaded machine needs longer.
ANSWER_S = 30.0


class Born:
    """A daemon of the nursery; its end is learnt from the nursery, whose child it is."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.code: int | None = None

    def poll(self) -> int | None:
        """The exit code (negative: the signal), None while it lives."""
        if self.code is None:
            self.code = self._nursery.ask({"poll": self.pid})["code"]
        return self.code

    def wait(self, limit_s: float) -> int:
        until = time.perf_counter() + limit_s
        while (code := self.poll()) is None:
            assert time.perf_counter() < until, f"process {self.pid} still lives after {limit_s} s"
            time.sleep(0.005)
        return code

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has come to every thread of it."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(") ")[2][:1] == "T" for stat in threads)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """Starts with the block; ends with it, and all its children with it."""

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(ANSWER_S)
        self._process.stdout.close()

    def bear(
        self,
        environment: Mapping[str, str],
        log_path: Path,
        order_path: Path | None = None,
        arguments: Sequence[str] = ("daemon",),
        lies: Sequence[str] = (),
    ) -> Born:
        asked = {
            "environment": dict(environment),
            "log": str(log_path),
            "order": str(order_path or ""),
            "arguments": list(arguments),
            "lies": list(lies),
        }
        pid = self.ask(asked)["pid"]
        assert pid is not None
        return Born(self, pid)

    def ask(self, question: Mapping[str, object]) -> dict[str, int | None]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        assert ready, "the nursery does not answer"
        answer: dict[str, int | None] = json.loads(self._process.stdout.readline())
        return answer


def crash_by(order_path: Path) -> Callable[[str], None]:
    """What a failpoint does in a process that may be told to die."""
    counts: Counter[str] = Counter()
    listed = os.open(f"{order_path}.reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    ordered = ""

    def on_reach(name: str) -> None:
        nonlocal ordered
        if not ordered and order_path.exists():
            ordered = order_path.read_text()
            counts.clear()  # what was reached before the order does not count
        counts[name] += 1
        if counts[name] == 1:
            os.write(listed, f"{name}\n".encode())
        if ordered.startswith(f"{name} {counts[name]} "):
            # To this thread, so that not even it gets any further; the others follow.
            signal.pthread_kill(threading.get_ident(), getattr(signal, ordered.split()[-1]))

    return on_reach


def _bear(asked: dict[str, object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    # From here on this is the daemon, until `main` ends it.
    log = os.open(str(asked["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    environment, arguments, lies = asked["environment"], asked["arguments"], asked["lies"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    assert isinstance(lies, list)
    for name in lies:
        setattr(os, name, lambda *_: None)
    # Who waits too long for it asks where it is: each thread at once, each task once the loop turns.
    signal.signal(signal.SIGUSR2, lambda *_: _tell_tasks())
    faulthandler.register(signal.SIGUSR2, chain=True)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["batchd", *arguments]
    from batchd import failpoints
    from batchd.cli import main

    if asked["order"]:
        failpoints.arm(crash_by(Path(str(asked["order"]))))
    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _tell_tasks() -> None:
    for task in asyncio.all_tasks():
        print(task.get_name(), file=sys.stderr)
        coroutine: Any = task.get_coro()
        while frame := getattr(coroutine, "cr_frame", None):
            print(f"  {frame.f_code.co_qualname}, line {frame.f_lineno}", file=sys.stderr)
            coroutine = coroutine.cr_await


def _serve() -> None:
    import batchd.app
    import batchd.cli.daemon
    import batchd.cli.run  # noqa: F401  # so that no child has to

    alive: dict[int, int | None] = {}
    # Unbuffered: a child that is forked with a filled buffer would read its mother's questions.
    with os.fdopen(os.dup(0), "rb", buffering=0) as questions:
        while line := questions.readline():
            asked = json.loads(line)
            if "poll" in asked:
                pid = asked["poll"]
                if alive.get(pid) is None:
                    done, status = os.waitpid(pid, os.WNOHANG)
                    alive[pid] = os.waitstatus_to_exitcode(status) if done else None
                answer = {"code": alive[pid]}
            else:
                pid = _bear(asked)
                alive[pid] = None
                answer = {"pid": pid}
            os.write(1, json.dumps(answer).encode() + b"\n")
    for pid, code in alive.items():
        if code is None and not os.waitpid(pid, os.WNOHANG)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve()
