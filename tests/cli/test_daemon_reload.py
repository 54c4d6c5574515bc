"""A living daemon and SIGHUP: a good file is taken, a wrong one refused, and the work goes on."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.batches import write_batch
from tests.house import LivingDaemon, clean_environment, read_lines
from tests.simulator.child import ChildSimulator


class ConfiguredDaemon(LivingDaemon):
    """One with a file of settings."""

    def start(self) -> None:
        environment = clean_environment(self.spool.parent, **self.own)
        command = [sys.executable, "-m", "batchd", "daemon", "--config", "batchd.toml"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self.spool.parent, stdin=subprocess.DEVNULL, stderr=log
            )

    def __init__(self, spool: Path, **environment: str) -> None:
        super().__init__(spool)
        self.own = environment


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notes:
        notes.bind(str(path))
        notes.settimeout(30)
        yield notes


def heard(notes: socket.socket, wanted: str) -> str:
    for _ in range(500):
        note = notes.recv(4096).decode()
        if note.startswith(wanted):
            return note
    raise AssertionError(f"systemd never heard {wanted}")


def test_a_hangup_reloads_a_good_file_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    config, spool = tmp_path / "batchd.toml", tmp_path / "spool"
    with ChildSimulator() as server, listening(tmp_path / "notify") as notes:
        settings = f'spool = "{spool}"\nsettle_s = 0\n[ollama]\nmode = "attach"\nhost = "{server.address}"\n'
        config.write_text(settings)
        with ConfiguredDaemon(spool, NOTIFY_SOCKET=str(tmp_path / "notify")) as daemon:
            heard(notes, "READY=1")
            config.write_text(f"drain_s = 20\nslots = 2\n{settings}")
            os.kill(daemon.pid, signal.SIGHUP)
            assert heard(notes, "RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
            heard(notes, "READY=1")
            daemon.wait_until(lambda: "slots changed: needs a restart" in daemon.log(), "what waits")
            assert "drain_s: 30.0 -> 20.0" in daemon.log()

            config.write_text(f"slotz = 2\n{settings}")
            os.kill(daemon.pid, signal.SIGHUP)
            daemon.wait_until(lambda: "the old ones hold: Unknown setting" in daemon.log(), "the refusal")

            batch_id = daemon.submit(write_batch(tmp_path / "packages.jsonl", 3, system="You are terse."))
            assert len(read_lines(daemon.result(batch_id) / "output.jsonl")) == 3
            assert daemon.stop() == 0
            # 20 s, and what leaving takes: the old settings, and of those the changed one.
            assert heard(notes, "EXTEND_TIMEOUT_USEC=") == "EXTEND_TIMEOUT_USEC=80000000"
