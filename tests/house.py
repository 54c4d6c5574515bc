"""A whole daemon in a child process, as a test meets it: only files, signals and exit codes.

SUMMARY
    with LivingDaemon(spool, BATCHD_OLLAMA__HOST=address) as daemon:
        batch_id = daemon.submit(path)
        result = daemon.result(batch_id)

DIAGNOSTICS
    AssertionError: the daemon ended by itself, or a wait reached its limit; the log is in the message.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from batchd.edges.spool import submit_file

ROOT = Path(__file__).parents[1]

#: What the tester has set is not what the test sets.
OURS = ("BATCHD_", "OLLAMA_")

#: Generous: the machines that run tests are slow and shared. A wait that ends here is a hang.
WAIT_S = 60.0


#: Several batchd of several tests work on one machine, and on no card.
BESIDE_OTHERS = {"BATCHD_SHARE_CARD": "true"}


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """What a batchd of a test sees: nothing that the tester has set."""
    return {
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        **BESIDE_OTHERS,
        **more,
    }


class LivingDaemon:
    """Starts with the block; ends with it."""

    def __init__(self, spool: Path, **environment: str) -> None:
        self.spool = spool
        self.log_path = spool.parent / f"{spool.name}.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "PYTHONPATH": str(ROOT),
            "BATCHD_SPOOL": str(spool),
            **BESIDE_OTHERS,
            "BATCHD_SETTLE_S": "0",
            "BATCHD_OLLAMA__MODE": "attach",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LivingDaemon":
        self.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Start it (again); it may still be recovering when this returns."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "batchd", "daemon"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.spool.parent,
            )

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(WAIT_S)

    def stop(self) -> int:
        """SIGTERM, as systemd does; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def submit(self, path: Path, options: Mapping[str, object] | None = None) -> str:
        """Hand a batch in; its id."""
        batch_id = f"batch_{secrets.token_hex(16)}"
        self.wait_until(lambda: (self.spool / "inbox").is_dir(), "the spool")
        submit_file(self.spool, path, path.name, {**(options or {}), "batch_id": batch_id})
        return batch_id

    def result(self, batch_id: str, wait_s: float = WAIT_S) -> Path:
        """The result directory, once it is published."""
        self.wait_until(lambda: bool(self._published(batch_id)), f"the result of {batch_id}", wait_s)
        return self._published(batch_id)[0]

    def wait_until(self, is_so: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
        """Poll; the daemon must live meanwhile."""
        until = time.perf_counter() + wait_s
        while not is_so():
            assert self._process is not None
            assert self._process.poll() is None, f"the daemon ended by itself\n{self.log()}"
            assert time.perf_counter() < until, f"no sign of {what} after {wait_s} s\n{self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        """What it said."""
        return self.log_path.read_text(errors="replace")[-6_000:]

    def _published(self, batch_id: str) -> list[Path]:
        return list((self.spool / "outbox").glob(f"*.{batch_id}"))


def embedded_daemon(folder: Path, gguf: Path, slots: int, **environment: str) -> LivingDaemon:
    """One with this model in it, and with no profile of the tester's."""
    return LivingDaemon(
        folder / "spool",
        BATCHD_ENGINE="llamacpp",
        BATCHD_LLAMACPP__GGUF=str(gguf),
        BATCHD_SLOTS=str(slots),
        BATCHD_PROFILES=str(folder / "profiles"),
        **environment,
    )


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSONL file; none where there is no file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
