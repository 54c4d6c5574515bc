"""`batchd resume`: what it says."""

from pathlib import Path

import pytest

from batchd.cli import call
from tests.cli.asked import ONE, OTHER, told


def test_a_paused_batch_goes_on(asked_spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["resume", "mail.jsonl", "--spool", str(asked_spool)]) == 0
    assert capsys.readouterr().out == f"{OTHER} goes on.\n"
    assert told(asked_spool) == [f"{OTHER}.resume"]


def test_one_that_is_not_paused_is_said_to_be_so(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["resume", ONE, "--spool", str(asked_spool)]) == 0
    assert capsys.readouterr().out == f"{ONE} is not paused.\n"
