"""`batchd cancel`: what it says, and what it leaves in control/."""

from pathlib import Path

import pytest

from batchd.cli import call
from tests.cli.asked import ONE, told


def test_a_batch_is_cancelled_by_the_name_of_its_file(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["cancel", "reviews", "--spool", str(asked_spool)]) == 0
    assert capsys.readouterr().out == f"{ONE} is cancelled; its result directory follows.\n"
    assert told(asked_spool) == [f"{ONE}.cancel"]
