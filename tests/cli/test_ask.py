"""Which batch is meant, and how the daemon is told."""

from pathlib import Path

import pytest

from batchd.cli import call
from batchd.cli.ask import find
from batchd.core.status import StatusReport, render
from batchd.errors import UsageError
from tests.cli.asked import ONE, OTHER, REPORT, batch, told


@pytest.mark.parametrize("named", [ONE, ONE[:10], "ab", "batch_ab", "reviews.jsonl", "reviews"])
def test_a_batch_is_named_by_its_id_its_beginning_or_its_file(named: str) -> None:
    found = find(REPORT, named)
    assert found is not None
    assert found.id == ONE


@pytest.mark.parametrize("named", ["batch_b", "review", "", "batch_", ".jsonl"])
def test_what_fits_nothing_or_everything_finds_nothing_or_is_refused(named: str) -> None:
    assert find(REPORT, named) is None


def test_a_beginning_that_fits_two_is_refused_with_both() -> None:
    with pytest.raises(UsageError, match=f"{ONE}, {OTHER}"):
        find(REPORT, "batch_a")


def test_the_whole_id_wins_over_a_name_that_looks_like_it() -> None:
    twin = StatusReport(1.0, 2, "ready", batches=(batch(ONE, "x.jsonl"), batch(OTHER, ONE)))
    found = find(twin, ONE)
    assert found is not None
    assert found.name == "x.jsonl"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_name_that_fits_no_batch_is_a_usage_error_and_tells_nobody(
    asked_spool: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([verb, "nothing.jsonl", "--spool", str(asked_spool)]) == 2
    assert "No batch of" in capsys.readouterr().err
    assert told(asked_spool) == []


def test_a_whole_id_that_is_not_in_the_house_yet_is_told_and_waits(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = f"batch_{9:032x}"
    assert call(["cancel", later, "--spool", str(asked_spool)]) == 0
    assert "waits for it, for a week" in capsys.readouterr().err
    assert told(asked_spool) == [f"{later}.cancel"]


def test_without_a_daemon_it_is_said_that_it_takes_effect_later(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked_spool / "status.json").write_bytes(render(REPORT))  # of long ago
    assert call(["pause", "reviews", "--spool", str(asked_spool)]) == 0
    assert "No daemon seems to work" in capsys.readouterr().err
    assert told(asked_spool) == [f"{ONE}.pause"]


@pytest.mark.parametrize("named", [ONE, "reviews.jsonl"])
def test_without_a_spool_it_says_what_to_do(
    tmp_path: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["pause", named, "--spool", str(tmp_path)]) == 78
    assert "batchd daemon" in capsys.readouterr().err
