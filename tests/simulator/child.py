"""The simulator in a child process of the test: it outlives a killed daemon.

SUMMARY
    with ChildSimulator(tmp_path / "log.jsonl", slots=4) as server:     server.address
    server.fault("kill"), server.fault("busy", 3), server.fault("down", 0.5), server.poison("text", "hang")
    server.counts()     totals
    server.seen()       the log, one mapping per request
    write_binary        a script that takes `serve`, to stand for the ollama binary

DIAGNOSTICS
    AssertionError: the child did not come up, or found a bug in itself.
"""

import os
import select
import shlex
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import orjson

_ROOT = Path(__file__).resolve().parents[2]

#: A Python child needs about 0.3 s to come up; a loaded machine some more.
START_S = 20.0
STOP_S = 5.0


def write_binary(directory: Path, **settings: object) -> Path:
    """An executable that stands for `ollama`: `ollama serve` runs the simulator with these settings."""
    script = directory / "ollama"
    script.write_text(
        "#!/bin/sh\n"
        f"PYTHONPATH={shlex.quote(str(_ROOT))} exec {shlex.quote(sys.executable)} -m tests.simulator "
        f'"$@" {shlex.join(_flags(settings))}\n'
    )
    script.chmod(0o755)
    return script


def _flags(settings: dict[str, object]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


class ChildSimulator:
    """Starts with the block, ends with it."""

    def __init__(self, log_path: Path | None = None, **settings: object) -> None:
        self._log_path = log_path
        log = ["--log", str(log_path)] if log_path else []
        self._command = [sys.executable, "-m", "tests.simulator", *log, *_flags(settings)]
        self._child: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> "ChildSimulator":
        self._child = subprocess.Popen(
            self._command, cwd=_ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(_ROOT)}
        )
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], START_S)
        assert ready, "the simulator did not come up"
        self.address = self._child.stdout.readline().decode().split()[-1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        self._child.terminate()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(STOP_S)
        self._child.stdout.close()

    def fault(self, kind: str, number: float = 0, **more: str) -> None:
        body = {"kind": kind, "number": number, **more}
        httpx.post(
            f"{self.address}/simulator/fault", json=body, timeout=STOP_S, trust_env=False
        ).raise_for_status()

    def poison(self, text: str, strikes: str) -> None:
        self.fault("poison", text=text, strikes=strikes)

    def counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = httpx.get(
            f"{self.address}/simulator/counts", timeout=STOP_S, trust_env=False
        ).json()
        assert not counts["bugs"], counts["bugs"]
        return counts

    def seen(self) -> list[dict[str, Any]]:
        assert self._log_path is not None
        return [orjson.loads(line) for line in self._log_path.read_bytes().splitlines()]
