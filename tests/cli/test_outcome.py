"""The outcome: where a result lies, and which exit code it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd.cli.outcome import check_input, closing_words, exit_code, find_result, read_result
from batchd.errors import SpoolError


def result(folder: Path, status: str, total: int, failed: int) -> Path:
    counts = {"total": total, "completed": total - failed, "failed": failed}
    (folder / "batch.json").write_text(json.dumps({"status": status, "request_counts": counts}))
    return folder


@pytest.mark.parametrize(
    ("status", "failed", "share", "code"),
    [
        ("completed", 0, 0.0, 0),
        ("completed", 1, 0.0, 1),
        ("completed", 1, 0.1, 0),
        ("completed", 2, 0.1, 1),
        ("failed", 0, 1.0, 1),
        ("expired", 0, 1.0, 1),
        ("cancelled", 0, 1.0, 1),
    ],
)
def test_the_exit_code_follows_status_and_failed_share(
    tmp_path: Path, status: str, failed: int, share: float, code: int
) -> None:
    assert exit_code(result(tmp_path, status, 10, failed), share) == code


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"status": "completed", "request_counts": null}'])
def test_what_is_no_batch_object_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "batch.json").write_text(content)
    with pytest.raises(SpoolError, match="not a batch"):
        exit_code(tmp_path, 0)


def test_a_result_that_was_taken_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="somebody collected it already"):
        exit_code(tmp_path / "gone", 0)


def test_a_result_is_found_by_the_id_of_its_batch(tmp_path: Path) -> None:
    assert find_result(tmp_path / "absent", "batch_1") is None
    assert find_result(tmp_path, "batch_1") is None
    (tmp_path / "job.batch_11").mkdir()
    assert find_result(tmp_path, "batch_1") is None
    (tmp_path / "job.batch_1").mkdir()
    assert find_result(tmp_path, "batch_1") == tmp_path / "job.batch_1"


def test_the_closing_words_are_of_the_answers(tmp_path: Path) -> None:
    assert closing_words(tmp_path) == []
    (tmp_path / "metrics.json").write_text("[]")
    assert closing_words(tmp_path) == []
    answers = {"not_json": 3, "empty": 0, "cut_at_bound": "\x1b[2J"}
    (tmp_path / "metrics.json").write_text(json.dumps({"answers": answers}))
    assert closing_words(tmp_path) == ["3 answers are not the JSON that was asked for."]


def test_the_closing_words_wait_for_no_pipe_and_follow_no_link(tmp_path: Path) -> None:
    metrics, elsewhere = tmp_path / "metrics.json", tmp_path / "elsewhere.json"
    elsewhere.write_text('{"answers": {"empty": 1}}')
    metrics.symlink_to(elsewhere)
    assert closing_words(tmp_path) == []
    metrics.unlink()
    os.mkfifo(metrics)
    assert closing_words(tmp_path) == []
    metrics.unlink()
    elsewhere.rename(metrics)
    assert closing_words(tmp_path) == ["1 answers are empty."]


@pytest.mark.parametrize("read", [lambda at: check_input(at, "0" * 64), read_result])
def test_a_result_that_is_being_collected_is_nobody_elses(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    result(tmp_path, "completed", 1, 0)
    with pytest.raises(SpoolError, match="collected"):
        read(tmp_path)
