"""`batchd status`: what status.json says, and how old it is."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.core.status import BatchStatus, ModelStatus, StatusReport, Unclaimable, render
from batchd.edges.clock import SystemClock

BATCH = BatchStatus(
    "batch_1", "job\x1b[2J.jsonl", "in_progress", 170_000, 61_200, 4, 4.12, 80.0, 0.97, 22_200
)
MODEL = ModelStatus(
    "ollama", "http://127.0.0.1:11434", "resident", "smollm2:135m", 2_304, 4, "by attach", user="ollama"
)


def write(spool: Path, written_at: float, state: str = "ready", pid: int = 123) -> None:
    thing = Unclaimable("link.jsonl", "a symbolic link")
    report = StatusReport(written_at, pid, state, MODEL, (BATCH,), (thing,), unclaimable_more=1_500)
    (spool / "status.json").write_bytes(render(report))


def test_a_fresh_status_is_shown_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SystemClock().now())
    assert call(["status", "--spool", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "ready, process 123" in told.out
    assert (
        "smollm2:135m resident, 4 x 2,304 tokens, ollama at http://127.0.0.1:11434, run by ollama, by attach"
        in told.out
    )
    row = next(line for line in told.out.splitlines() if line.startswith("batch_1"))
    assert row.split()[2:] == [
        "in_progress",
        "61,204/170,000",
        "4",
        "4.1",
        "80",
        "97%",
        "6",
        "h",
        "10",
        "min",
    ]
    assert "link.jsonl" in told.out
    assert "a symbolic link" in told.out
    assert "and 1,500 more" in told.out
    assert "\x1b" not in told.out


def test_an_old_status_is_shown_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SystemClock().now() - 200)
    assert call(["status", "--spool", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "batch_1" in told.out
    assert re.search(r"3 min 2\d s old", told.err)  # a second or two later on a busy machine


def test_a_status_from_the_future_is_not_old(tmp_path: Path) -> None:
    write(tmp_path, SystemClock().now() + 1_000)
    assert call(["status", "--spool", str(tmp_path)]) == 0


def test_json_is_the_report_and_its_age(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 1_000.0)
    assert call(["status", "--json", "--spool", str(tmp_path)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["is_old"], told["batches"][0]["total"]) == (1, True, 170_000)
    assert told["age_s"] > 1_000_000


def test_a_spool_without_a_status_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["status", "--spool", str(tmp_path)]) == 78
    assert "batchd daemon" in capsys.readouterr().err


def test_a_daemon_that_has_nothing_to_say_of_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = StatusReport(SystemClock().now(), 1, "starting")
    (tmp_path / "status.json").write_bytes(render(report))
    assert call(["status", "--spool", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "model   -" in out
    assert "no batch" in out


def test_a_daemon_that_stopped_says_so_however_fresh_its_status_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, SystemClock().now() - 3, "stopped")
    assert call(["status", "--spool", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "stopped, process 123" in told.out
    assert f"The daemon of {tmp_path} stopped 3 s ago." in told.err.replace("\n", " ")
    assert call(["status", "--json", "--spool", str(tmp_path)]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["is_running"], shown["is_old"], shown["state"]) == (False, False, "stopped")


@pytest.mark.parametrize(
    ("is_there", "words"), [(True, "has stopped, or hangs"), (False, "there is no process")]
)
def test_a_process_that_is_gone_is_told_from_one_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_there: bool, words: str
) -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text())  # the largest that there can be, and one more
    write(tmp_path, SystemClock().now() - 200, pid=os.getpid() if is_there else gone + 1)
    assert call(["status", "--spool", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err.replace("\n", " ")


def test_what_waits_and_what_concerns_all_is_said_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = BatchStatus("batch_2", "b.jsonl", "validating", 0, 0, 0, detail="it is still being written")
    report = StatusReport(SystemClock().now(), 1, "ready", batches=(waits,), notice="the disk is short")
    (tmp_path / "status.json").write_bytes(render(report))
    assert call(["status", "--spool", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "it is still being written" in out
    assert "notice  the disk is short" in out


def odd_fifo(path: Path) -> None:
    os.mkfifo(path)


def odd_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def odd_size(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def odd_directory(path: Path) -> None:
    path.mkdir()


def odd_json(path: Path) -> None:
    path.write_bytes(b"[" * 1_000_000)


@pytest.mark.parametrize("make", [odd_fifo, odd_link, odd_size, odd_directory, odd_json])
@pytest.mark.parametrize("verb", ["status", "submit"])
def test_whatever_stands_in_the_place_of_a_status_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None], verb: str
) -> None:
    make(tmp_path / "status.json")
    if verb == "status":
        assert call(["status", "--spool", str(tmp_path)]) in (1, 78)
        assert "status" in capsys.readouterr().err
    else:
        (tmp_path / "inbox").mkdir()
        (tmp_path / "a.jsonl").write_bytes(b"{}\n")
        assert call(["submit", str(tmp_path / "a.jsonl"), "--spool", str(tmp_path)]) == 0


def test_who_looks_for_a_finished_batch_is_shown_the_outbox(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status.json").write_bytes(render(StatusReport(SystemClock().now(), 123, "ready", MODEL)))
    assert call(["status", "--spool", str(tmp_path)]) == 0
    assert "no batch is at work or waits\n" in capsys.readouterr().out
    (tmp_path / "outbox").mkdir()
    assert call(["status", "--spool", str(tmp_path)]) == 0
    assert f"; finished ones lie in {tmp_path / 'outbox'}\n" in capsys.readouterr().out
