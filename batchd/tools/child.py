"""Child: a whole batchd in a process of its own, watched from outside while it works.

SUMMARY
    with Child(place, settings) as child:
        batch_id = child.submit(path, options)
        result = child.result(batch_id, limit_s)

    Its settings are exactly those that were given, written into a file; the environment decides nothing. Its
    anonymous memory is looked at all the time: mapped pages of the journal are the kernel's to take back.

DIAGNOSTICS
    Fatal: BatchdError with its last lines, when it ended by itself or the time is over.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType

from batchd.app.gauges import programs_of
from batchd.core.json import dumps
from batchd.edges import memory
from batchd.edges.spool import submit_file
from batchd.errors import BatchdError
from batchd.settings import Settings, without_settings

LOOK_S = 0.02

#: All processes of the machine are listed to find those of the model server.
FAMILY_S = 1.0

#: Recovery of a large spool, or a drain; a daemon that needs longer hangs.
START_S = 120.0
STOP_S = 60.0

LOG_LINES_SHOWN = 8

#: The program of a batchd as anybody starts it.
BATCHD = ("batchd",)


def config_text(settings: Settings) -> str:
    """The settings as TOML, without what is None. Keys of servers are in it: for no one else's eyes."""
    plain: list[str] = []
    tables: list[str] = []
    for name, value in settings.model_dump(mode="python").items():
        if isinstance(value, dict):
            if value.get("hosts"):
                del value["host"]  # they take its place; to set both is refused
            _table(tables, name, value)
        elif value is not None:
            plain.append(f"{name} = {_value(value)}")
    return "\n".join([*plain, *tables]) + "\n"


def _table(lines: list[str], name: str, table: Mapping[str, object]) -> None:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines.append(f"\n[{name}]")
    for key, value in table.items():
        if key not in inner and value is not None:
            lines.append(f"{_text(key)} = {_value(value)}")
    for key, value in inner.items():
        _table(lines, f"{name}.{_text(key)}", value)


def _value(value: object) -> str:
    if isinstance(value, bool | int | float):
        return dumps(value).decode()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    secret = getattr(value, "get_secret_value", None)
    return _text(str(secret() if secret is not None else value))


def _text(text: str) -> str:
    # A JSON string is a TOML string, but for one character.
    return dumps(text).decode().replace("\x7f", "\\u007f")


def held_beside(pids: Set[int], programs: Sequence[str]) -> int:
    """Resident memory of the model server: what came of these processes, and programs of its name."""
    roots = set(pids).union(*(memory.named(name) for name in programs))
    return memory.family_bytes(memory.family(roots) - pids) or 0


class Child:
    """Started with the block, ended with it. `program`: the module that is run, before the verb."""

    def __init__(self, place: Path, settings: Settings, program: Sequence[str] = BATCHD) -> None:
        self.spool = place / "spool"
        self.peak_bytes = 0
        self.server_bytes = 0
        self.started_at = 0.0
        self._family_seen_at = 0.0
        self._programs = programs_of(settings)
        self._log_path = place / "batchd.log"
        self._config = place / "batchd.toml"
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        place.mkdir(parents=True, exist_ok=True)
        self._config.touch(0o600)
        # What is handed in here is complete from the first moment.
        settings = settings.model_copy(update={"spool": self.spool, "settle_s": 0.0})
        self._config.write_text(config_text(settings), encoding="utf-8")

    def __repr__(self) -> str:
        return f"Child({self.spool})"

    def __enter__(self) -> "Child":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was started"
        return self._process.pid

    def start(self) -> None:
        """Start it, again after a kill; it may still be recovering when this returns."""
        command = [sys.executable, "-m", *self._program, "daemon", "--config", str(self._config)]
        with self._log_path.open("ab") as log:
            self.started_at = time.perf_counter()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=without_settings()
            )

    def stop(self) -> None:
        """As systemd does it; killed where that does not help."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """With no chance to tidy up."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)

    def submit(self, batch: Path, options: Mapping[str, object]) -> str:
        """Hand a file in; the id of its batch."""
        batch_id = f"batch_{secrets.token_hex(16)}"
        self.wait_until((self.spool / "inbox").is_dir, START_S)
        submit_file(self.spool, batch, batch.name, {**options, "batch_id": batch_id})
        return batch_id

    def result(self, batch_id: str, limit_s: float) -> Path:
        """The result directory, once it is published."""
        outbox = self.spool / "outbox"
        self.wait_until(lambda: any(outbox.glob(f"*.{batch_id}")), limit_s)
        return next(outbox.glob(f"*.{batch_id}"))

    def wait_until(self, is_so: Callable[[], bool], limit_s: float) -> None:
        """Look again and again, at its memory too."""
        until = time.perf_counter() + limit_s
        while not is_so():
            assert self._process is not None, "it was started"
            if self._process.poll() is not None or time.perf_counter() > until:
                tail = self._log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                what = (
                    "ended by itself"
                    if self._process.poll() is not None
                    else f"needs more than {limit_s:.0f} s"
                )
                raise BatchdError(f"The batchd that is measured {what}. Its last lines:", "\n".join(tail))
            self._look()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, memory.resident_bytes(pid=self.pid) or 0)
        now = time.perf_counter()
        if now - self._family_seen_at >= FAMILY_S:
            self._family_seen_at = now
            self.server_bytes = max(self.server_bytes, held_beside({self.pid}, self._programs))
