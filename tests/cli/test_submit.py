"""`batchd submit`: the file arrives whole with its id, and --wait ends with the result."""

import json
import re
import threading
from pathlib import Path

import pytest

from batchd.cli import call


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    root = tmp_path / "spool"
    (root / "inbox").mkdir(parents=True)
    (root / "outbox").mkdir()
    return root


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    path = tmp_path / "job.jsonl"
    path.write_bytes(b'{"any": "bytes"}\n')
    return path


def handed_in(spool: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (spool / "inbox").iterdir()}


def publish(spool: Path, batch_id: str, failed: int) -> None:
    """What a daemon does at the end: one rename of a complete directory."""
    making = spool / "making"
    making.mkdir()
    counts = {"total": 2, "completed": 2 - failed, "failed": failed}
    (making / "batch.json").write_text(json.dumps({"status": "completed", "request_counts": counts}))
    making.rename(spool / "outbox" / f"job.{batch_id}")


def test_the_file_arrives_with_its_id_beside_it(
    spool: Path, batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["submit", str(batch), "--spool", str(spool)]) == 0
    batch_id = capsys.readouterr().out.strip()
    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch_id)
    files = handed_in(spool)
    assert files.pop("job.jsonl") == batch.read_bytes()
    assert json.loads(files.pop("job.options.json")) == {"batch_id": batch_id}
    assert files == {}


def test_the_options_beside_the_file_go_with_it(
    spool: Path, batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.with_name("job.options.json").write_text('{"strict": true, "batch_id": null}')
    assert call(["submit", str(batch), "--spool", str(spool)]) == 0
    batch_id = capsys.readouterr().out.strip()
    assert json.loads(handed_in(spool)["job.options.json"]) == {"strict": True, "batch_id": batch_id}


def test_an_id_that_the_submitter_chose_is_refused_since_it_may_be_another_batches(
    spool: Path, batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.with_name("job.options.json").write_text(json.dumps({"batch_id": "batch_" + "0" * 32}))
    assert call(["submit", str(batch), "--spool", str(spool)]) == 2
    assert "submit gives each batch its own" in capsys.readouterr().err
    assert handed_in(spool) == {}


@pytest.mark.parametrize("options", ["nope", "[]", '{"strikt": true}', '{"batch_id": "x"}'])
def test_bad_options_are_refused_before_anything_is_handed_in(
    spool: Path, batch: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.with_name("job.options.json").write_text(options)
    assert call(["submit", str(batch), "--spool", str(spool)]) == 2
    assert "not usable" in capsys.readouterr().err
    assert handed_in(spool) == {}


def test_what_cannot_be_read_is_a_usage_error_and_no_spool_is_one_of_configuration(
    spool: Path, batch: Path, tmp_path: Path
) -> None:
    assert call(["submit", str(tmp_path / "absent.jsonl"), "--spool", str(spool)]) == 2
    assert call(["submit", ".", "--spool", str(spool)]) == 2
    assert call(["submit", str(batch), "--spool", str(tmp_path / "nowhere")]) == 78
    assert call(["status", "--spool", str(tmp_path / "nowhere")]) == 78


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_waiting_ends_with_the_result_directory_and_its_exit_code(
    spool: Path, batch: Path, failed: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arrived = threading.Event()

    def daemon() -> None:
        for _ in range(2_000):
            if (spool / "inbox" / "job.jsonl").exists():
                break
            arrived.wait(0.01)
        options = json.loads((spool / "inbox" / "job.options.json").read_bytes())
        publish(spool, options["batch_id"], failed)

    other = threading.Thread(target=daemon)
    other.start()
    try:
        assert call(["submit", str(batch), "--wait", "--spool", str(spool)]) == code
    finally:
        other.join(timeout=30)
    told = capsys.readouterr()
    batch_id, result = told.out.splitlines()
    assert result == str(spool / "outbox" / f"job.{batch_id}")
    assert "No daemon seems to work on this spool" in told.err
