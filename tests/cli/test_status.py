"""`batchd status`: what status.json says, and how old it is."""

import json
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.core.status import BatchStatus, ModelStatus, StatusReport, Unclaimable, render
from batchd.edges.clock import SystemClock

BATCH = BatchStatus(
    "batch_1", "job\x1b[2J.jsonl", "in_progress", 170_000, 61_200, 4, 4.12, 80.0, 0.97, 22_200
)
MODEL = ModelStatus("ollama", "http://127.0.0.1:11434", "resident", "smollm2:135m", 2_304, 4, "by attach")


def write(spool: Path, written_at: float) -> None:
    thing = Unclaimable("link.jsonl", "a symbolic link")
    report = StatusReport(written_at, 123, "ready", MODEL, (BATCH,), (thing,), unclaimable_more=1_500)
    (spool / "status.json").write_bytes(render(report))


def test_a_fresh_status_is_shown_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SystemClock().now())
    assert call(["status", "--spool", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "ready, process 123" in told.out
    assert "smollm2:135m resident, 4 x 2,304 tokens, ollama at http://127.0.0.1:11434, by attach" in told.out
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
    assert "3 min 20 s old" in told.err


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
    assert call(["status", "--spool", str(tmp_path)]) == 1
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
