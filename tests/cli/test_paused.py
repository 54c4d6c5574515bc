"""A paused batch in `batchd run`: it says what to type, or asks; and goes on where it stopped."""

import json
import os
import pty
import shlex
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchd.app import Ended
from batchd.cli.paused import EXIT_PAUSED, as_json_of_paused, go_on
from batchd.core.pause import Cause, Pause
from batchd.edges.spool import tell
from tests.batches import user_text, write_batch
from tests.cli.asked import asked
from tests.house import LivingDaemon, clean_environment, read_lines
from tests.simulator import tag_of
from tests.simulator.child import ChildSimulator

ID = f"batch_{5:032x}"


def ended(cause: Cause = Cause.ASKED) -> Ended:
    return Ended(ID, "mail.jsonl", None, Pause(cause, "all answers are empty", 1.0))


def result_line(custom_id: str, text: str, finish: str = "stop") -> str:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return json.dumps({"custom_id": custom_id, "response": {"body": {"choices": [choice]}}, "error": None})


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for room in ("control", "partial"):
        (tmp_path / room).mkdir()
    return tmp_path


def test_without_a_terminal_it_says_what_to_type(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not go_on(spool, [ended()])
    told = capsys.readouterr()
    assert told.out == ""
    assert "mail.jsonl is paused: all answers are empty." in told.err
    assert f"batchd resume {ID} --spool {spool}" in told.err


def test_the_answers_of_the_pilot_are_shown_whatever_is_in_them(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        result_line("a", "fine \x1b[2J"),
        result_line("b", ""),
        result_line("c", "long " * 200, "length"),
        json.dumps({"custom_id": "d", "response": None, "error": {"code": "runaway", "message": "no end"}}),
        json.dumps({"custom_id": "e", "response": {"body": {"data": [{}, {}]}}, "error": None}),
        '{"custom_id": "torn',
        "[]",
    ]
    (spool / "partial" / f"{ID}.jsonl").write_text("\n".join(lines))
    assert not go_on(spool, [ended(Cause.PILOT)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "[empty]" in rows["b"]
    assert rows["c"].rstrip().endswith("…")
    assert "[runaway] no end" in rows["d"]
    assert "2 embeddings" in rows["e"]
    assert "torn" not in rows


def test_a_program_is_told_the_cause() -> None:
    assert as_json_of_paused(ended())["paused"] == {
        "cause": "asked",
        "reason": "all answers are empty",
        "at": 1.0,
    }


@contextmanager
def running(
    folder: Path,
    address: str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "batchd", "run", *arguments]
    environment = clean_environment(folder, OLLAMA_HOST=address, TERM="xterm", COLUMNS="140")
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pause_soon(root: Path, server: ChildSimulator) -> str:
    """Pause the batch of this spool once it is at work; its id."""
    until = time.perf_counter() + 30
    while server.counts()["answers"] < 3 and time.perf_counter() < until:
        time.sleep(0.02)
    (processing,) = (root / "processing").iterdir()
    tell(root, processing.name, "pause")
    return processing.name


def test_a_run_whose_batch_is_paused_ends_with_3_and_goes_on_after_the_command(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="You are terse.")
    root = tmp_path / "results" / ".spool"
    arguments = (str(batch), "--out", "results")
    with ChildSimulator(tmp_path / "asked.jsonl", delay_s=0.05) as server:
        with running(tmp_path, server.address, *arguments, "--json") as process:
            batch_id = pause_soon(root, server)
            out, error = process.communicate(timeout=60)
        assert process.returncode == EXIT_PAUSED, error
        assert json.loads(out)["paused"]["cause"] == "asked"
        typed = next(line for line in error.decode().splitlines() if line.startswith("To go on, type: "))
        command = shlex.split(typed.removeprefix("To go on, type: batchd "))
        assert command[1] == batch_id
        subprocess.run(
            [sys.executable, "-m", "batchd", *command],
            env=clean_environment(tmp_path),
            check=True,
            timeout=60,
        )
        with running(tmp_path, server.address, *arguments) as process:
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert asked(server) == Counter({tag_of(user_text(number)): 1 for number in range(60)})
    assert len(read_lines(Path(out.decode().strip()) / "output.jsonl")) == 60


@pytest.mark.parametrize(("key", "code"), [(b"y\n", 0), (b"n\n", EXIT_PAUSED)])
def test_on_a_terminal_a_person_is_asked(tmp_path: Path, key: bytes, code: int) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 30, system="You are terse.")
    root = tmp_path / "results" / ".spool"
    screen, terminal = pty.openpty()
    with (
        ChildSimulator(delay_s=0.1) as server,
        running(
            tmp_path, server.address, str(batch), "--out", "results", stdin=terminal, stderr=terminal
        ) as process,
    ):
        os.close(terminal)
        pause_soon(root, server)
        drawn = b""
        while b"Go on?" not in drawn:
            drawn += os.read(screen, 65_536)
        os.write(screen, key)
        while piece := _read(screen):
            drawn += piece
        out, _ = process.communicate(timeout=60)
    os.close(screen)
    assert process.returncode == code
    assert b"batchd pause was typed" in drawn
    assert bool(out) == (code == 0)


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65_536)
    except OSError:  # the other side has closed the terminal
        return b""


def test_a_run_with_a_pilot_shows_the_answers_and_waits(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="You are terse.")
    arguments = (str(batch), "--out", "results", "--pilot", "6")
    with ChildSimulator(tmp_path / "asked.jsonl") as server:
        with running(tmp_path, server.address, *arguments) as process:
            out, error = process.communicate(timeout=60)
        assert process.returncode == EXIT_PAUSED, error
        shown = out.decode().splitlines()
        assert shown[0].split() == ["custom_id", "answer"]
        assert len(shown) == 1 + 6
        assert all(line.startswith("package-") for line in shown[1:])
        assert b"a person shall look at the first 6 answers" in error
        assert asked(server).total() == 6
        (batch_id,) = [path.name for path in (tmp_path / "results" / ".spool" / "processing").iterdir()]
        tell(tmp_path / "results" / ".spool", batch_id, "resume")
        # Without the flag it is the same batch: a pilot changes no answer.
        with running(tmp_path, server.address, *arguments[:3]) as process:
            out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert asked(server) == Counter({tag_of(user_text(number)): 1 for number in range(60)})
    assert len(read_lines(Path(out.decode().strip()) / "output.jsonl")) == 60


def test_a_wrong_template_pauses_a_batch_of_5000_after_20_requests_and_the_service_says_so(
    tmp_path: Path,
) -> None:
    notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notes.bind(str(tmp_path / "notify"))
    notes.settimeout(30)
    root = tmp_path / "spool"
    batch = write_batch(tmp_path / "packages.jsonl", 5_000, system="You are terse.")
    with (
        notes,
        ChildSimulator(tmp_path / "asked.jsonl", mute=1) as server,
        LivingDaemon(
            root, BATCHD_OLLAMA__HOST=server.address, NOTIFY_SOCKET=str(tmp_path / "notify")
        ) as daemon,
    ):
        batch_id = daemon.submit(batch)
        told = ""
        while not told.startswith("STATUS=paused"):
            told = notes.recv(4096).decode()
        assert told == (
            f"STATUS=paused 20/5,000 · batchd resume {batch_id[:18]} · "
            "20 of the first 20 answers are bad: 20 empty"
        )
        assert asked(server).total() == 20
        assert "20 of the first 20 answers are bad" in daemon.log()
