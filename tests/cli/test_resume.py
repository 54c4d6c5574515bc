"""`batchd resume`: what it says."""

from pathlib import Path

import pytest

from batchd.cli import call
from tests.cli.asked import ONE, OTHER, told


def test_a_paused_batch_goes_on(asked_spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["resume", "mail.jsonl", "--spool", str(asked_spool)]) == 0
    assert capsys.readouterr().out == f"{OTHER} goes on.\n"
    assert told(asked_spool) == [f"{OTHER}.resume"]


def test_one_that_was_not_paused_in_the_last_status_goes_on(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["resume", ONE, "--spool", str(asked_spool)]) == 0
    assert (
        capsys.readouterr().out
        == f"{ONE} was not paused when the daemon last said how it stands; it goes on.\n"
    )
    assert told(asked_spool) == [f"{ONE}.resume"]
