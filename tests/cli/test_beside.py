"""What lies beside a batch file."""

import os
from pathlib import Path

import pytest

from batchd.cli.beside import opened, options_beside
from batchd.errors import UsageError


def test_options_are_found_by_the_name_of_the_batch_file(tmp_path: Path) -> None:
    batch = tmp_path / "job.jsonl"
    assert options_beside(batch) is None
    (tmp_path / "job.options.json").write_bytes(b"{}")
    assert options_beside(batch) == b"{}"


def test_options_that_cannot_be_read_are_said_and_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "job.options.json").mkdir()
    with pytest.raises(UsageError, match=r"job\.options\.json cannot be read"):
        options_beside(tmp_path / "job.jsonl")


def test_an_absent_batch_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        opened(tmp_path / "absent.jsonl")


def test_options_without_an_end_are_not_read(tmp_path: Path) -> None:
    options = tmp_path / "job.options.json"
    options.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="cannot be read"):
        options_beside(tmp_path / "job.jsonl")
    options.unlink()
    os.mkfifo(options)
    with pytest.raises(UsageError, match="not a plain file"):
        options_beside(tmp_path / "job.jsonl")
