"""`batchd submit`: the file arrives whole with its id, and --wait ends with the result."""

import hashlib
import json
import re
import threading
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.cli.outcome import check_input
from batchd.errors import SpoolError


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


def publish(spool: Path, batch_id: str, failed: int, content: bytes, status: str = "completed") -> None:
    """What a daemon does at the end: one rename of a complete directory."""
    making = spool / "making"
    making.mkdir()
    counts = {"total": 2, "completed": 2 - failed, "failed": failed}
    (making / "batch.json").write_text(json.dumps({"status": status, "request_counts": counts}))
    metrics = {"provenance": {"input": {"sha256": hashlib.sha256(content).hexdigest()}}}
    (making / "metrics.json").write_text(json.dumps(metrics))
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


def submit_and_wait(spool: Path, batch: Path, failed: int, content: bytes, status: str = "completed") -> int:
    """With a daemon that publishes the results of `content` under the id."""
    arrived = threading.Event()

    def daemon() -> None:
        for _ in range(2_000):
            if (spool / "inbox" / "job.jsonl").exists():
                break
            arrived.wait(0.01)
        options = json.loads((spool / "inbox" / "job.options.json").read_bytes())
        publish(spool, options["batch_id"], failed, content, status)

    other = threading.Thread(target=daemon)
    other.start()
    try:
        return call(["submit", str(batch), "--wait", "--spool", str(spool)])
    finally:
        other.join(timeout=30)


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_waiting_ends_with_the_result_directory_and_its_exit_code(
    spool: Path, batch: Path, failed: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit_and_wait(spool, batch, failed, batch.read_bytes()) == code
    told = capsys.readouterr()
    batch_id, result = told.out.splitlines()
    assert result == str(spool / "outbox" / f"job.{batch_id}")
    assert "No daemon seems to work on this spool" in told.err


@pytest.mark.parametrize(("content", "status"), [(b"another\n", "completed"), (b"", "completed")])
def test_a_result_under_our_id_that_is_of_other_bytes_is_not_believed(
    spool: Path, batch: Path, content: bytes, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit_and_wait(spool, batch, 0, content, status) == 1
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1  # the id, and no result
    assert "not of the file that was handed in" in told.err


def test_a_batch_that_failed_unread_is_told_as_failed(
    spool: Path, batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit_and_wait(spool, batch, 0, b"", "failed") == 1
    assert "not of the file" not in capsys.readouterr().err


def test_a_result_without_the_hash_of_its_input_is_not_believed(spool: Path, tmp_path: Path) -> None:
    publish(spool, "batch_" + "0" * 32, 0, b"")
    [result] = (spool / "outbox").iterdir()
    for metrics in ("", "[]", "{}", '{"provenance": null}'):
        (result / "metrics.json").write_text(metrics)
        with pytest.raises(SpoolError, match="not of the file"):
            check_input(result, hashlib.sha256(b"x").hexdigest())
