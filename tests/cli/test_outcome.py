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


def test_why_requests_have_no_answer_is_said_with_the_first_reason(tmp_path: Path) -> None:
    refused = {"code": "model_error", "message": "no\x1b[2J" + "x" * 400}
    lines = [{"error": None, "response": {"body": {"error": refused}}}, {"error": None}]
    (tmp_path / "errors.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said, where = closing_words(result(tmp_path, "completed", 1_000, 2))
    assert said.startswith("2 of 1,000 requests have no answer. The first: model_error: no\\x1b[2Jxxx")
    assert said.endswith("x…")
    assert len(said) < 400
    assert where.endswith(str(tmp_path / "errors.jsonl"))
    (tmp_path / "retry.jsonl").touch()
    assert "retry.jsonl" in closing_words(tmp_path)[2]


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00", '{"error": 3}', '{"error": {"code": 1}}'])
def test_error_lines_of_anybody_take_nothing_from_the_number(tmp_path: Path, content: str) -> None:
    (tmp_path / "errors.jsonl").write_text(content)
    assert closing_words(result(tmp_path, "completed", 3, 2))[0] == "2 of 3 requests have no answer"


def test_a_batch_that_failed_says_why(tmp_path: Path) -> None:
    counts = {"total": 0, "completed": 0, "failed": 0}
    errors = {"data": [{"code": "empty_file", "message": "The file is empty."}]}
    (tmp_path / "batch.json").write_text(
        json.dumps({"status": "failed", "request_counts": counts, "errors": errors})
    )
    assert closing_words(tmp_path) == ["The batch failed: empty_file: The file is empty."]
