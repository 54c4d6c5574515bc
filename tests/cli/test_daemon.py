"""`batchd daemon` as systemd meets it: notify messages, signals, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from batchd.edges.spool import Spool
from tests.batches import user_text, write_batch
from tests.house import LivingDaemon, clean_environment, read_lines
from tests.simulator.child import ChildSimulator


def ended(folder: Path, **more: str) -> tuple[int, str]:
    """A daemon that ends by itself: exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "daemon", "--spool", "spool"],
        cwd=folder,
        env=clean_environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_second_daemon_on_the_same_spool_is_exit_75(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    try:
        code, said = ended(tmp_path)
    finally:
        spool.close()
    assert code == 75
    assert "held by another batchd" in said
    assert "Traceback" not in said


def test_a_wrong_setting_is_exit_78_with_the_nearest_known_name(tmp_path: Path) -> None:
    code, said = ended(tmp_path, BATCHD_SLOT="4")
    assert code == 78
    assert "BATCHD_SLOTS" in said


def test_a_directory_that_no_state_describes_stops_it_with_a_sentence(tmp_path: Path) -> None:
    Spool.open(tmp_path / "spool").close()
    strange = tmp_path / "spool" / "processing" / ("batch_" + "0" * 32)
    (strange / "publish").mkdir(parents=True)
    code, said = ended(tmp_path, BATCHD_OLLAMA__MODE="attach")
    assert code == 1
    assert "No batch can look like this" in said
    assert "Traceback" not in said


def test_it_says_ready_status_and_stopping_and_leaves_with_0(tmp_path: Path) -> None:
    notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notes.bind(str(tmp_path / "notify"))
    notes.settimeout(30)
    batch = write_batch(tmp_path / "packages.jsonl", 3, system="You are terse.")
    with (
        notes,
        ChildSimulator() as server,
        LivingDaemon(
            tmp_path / "spool",
            BATCHD_OLLAMA__HOST=server.address,
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="30000000",
        ) as daemon,
    ):
        said = [notes.recv(4096).decode()]
        while "READY=1" not in said:
            said.append(notes.recv(4096).decode())
        daemon.result(daemon.submit(batch))
        assert daemon.stop() == 0
        while "STOPPING=1" not in said:
            said.append(notes.recv(4096).decode())
    assert said.index("READY=1") < said.index("STOPPING=1")
    assert "WATCHDOG=1" in said
    assert [note for note in said if note.startswith("STATUS=")]
    assert json.loads((tmp_path / "spool" / "status.json").read_bytes())["state"] == "stopped"


def test_a_stop_in_the_middle_drains_and_the_next_start_goes_on(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="You are terse.")
    with (
        ChildSimulator(delay_s=0.05) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        batch_id = daemon.submit(batch)
        daemon.wait_until(lambda: server.counts()["answers"] > 10, "answers")
        assert daemon.stop() == 0
        assert list((tmp_path / "spool" / "outbox").iterdir()) == []
        daemon.start()
        result = daemon.result(batch_id)
        assert server.counts()["answers"] == 60 + 2, "one canary for each start, and no request twice"
    assert len(read_lines(result / "output.jsonl")) == 60


def test_a_server_that_goes_away_is_waited_for_and_nobody_is_charged(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 40, system="You are terse.")
    with (
        ChildSimulator(slots=2, delay_s=0.05) as server,
        LivingDaemon(
            tmp_path / "spool",
            BATCHD_OLLAMA__HOST=server.address,
            BATCHD_SLOTS="2",
            BATCHD_ATTEMPTS_MAX="1",
        ) as daemon,
    ):
        batch_id = daemon.submit(batch)
        daemon.wait_until(lambda: server.counts()["answers"] > 5, "answers")
        server.fault("down", 2.0)
        result = daemon.result(batch_id)
    assert len(read_lines(result / "output.jsonl")) == 40
    assert read_lines(result / "errors.jsonl") == []


def test_a_cancelled_batch_keeps_what_was_answered(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 200, system="You are terse.")
    with (
        ChildSimulator(delay_s=0.05) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        batch_id = daemon.submit(batch)
        daemon.wait_until(lambda: server.counts()["answers"] > 5, "answers")
        (tmp_path / "spool" / "control" / f"{batch_id}.cancel").touch()
        result = daemon.result(batch_id)
        os.kill(daemon.pid, signal.SIGTERM)
    described = json.loads((result / "batch.json").read_bytes())
    output, errors = (read_lines(result / name) for name in ("output.jsonl", "errors.jsonl"))
    assert described["status"] == "cancelled"
    assert 5 < len(output) < 200
    assert len(output) + len(errors) == 200
    assert {json.dumps(line["error"])[:30] for line in errors} == {'{"code": "batch_cancelled", "m'}
    assert len(read_lines(result / "retry.jsonl")) == len(errors)


def test_a_busy_server_and_a_request_that_breaks_the_connection_cost_nobody_else(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 12, system="You are terse.")
    poisoned = user_text(7).splitlines()[0]
    with (
        ChildSimulator(slots=2) as server,
        LivingDaemon(
            tmp_path / "spool",
            BATCHD_OLLAMA__HOST=server.address,
            BATCHD_SLOTS="2",
            BATCHD_ATTEMPTS_MAX="1",
        ) as daemon,
    ):
        server.poison(poisoned, "drop")
        server.fault("busy", 2)
        result = daemon.result(daemon.submit(batch))
    (failed,) = read_lines(result / "errors.jsonl")
    assert failed["custom_id"] == "package-7"
    assert '"code": "crash"' in json.dumps(failed)
    assert len(read_lines(result / "output.jsonl")) == 11
