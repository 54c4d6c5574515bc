"""`batchd verify`: exit codes, sentences, the table, JSON."""

import json
from pathlib import Path

import pytest

from batchd.cli import call
from tests.fakes.made_batch import chat
from tests.fakes.standing_spool import StandingSpool


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """With one result."""
    standing = StandingSpool(tmp_path)
    standing.publish([chat("a"), chat("b")])
    standing.close()
    return standing.root


def damage(spool: Path) -> str:
    (path,) = (spool / "outbox").glob("*/output.jsonl")
    path.write_bytes(path.read_bytes().replace(b"answer", b"Answer", 1))
    return str(path.relative_to(spool))


def test_a_whole_spool_ends_with_0_and_says_what_was_looked_at(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["verify", "--spool", str(spool)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "Nothing is wrong." in told.out
    assert "no batchd holds it" in told.out
    assert ["result", "lines", "2"] in [line.split() for line in told.out.splitlines()]


def test_a_finding_is_a_line_with_rule_place_and_next_step_and_the_end_is_1(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = damage(spool)
    assert call(["verify", "--spool", str(spool)]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"I4 {place}: It is not what was published")
    assert "hand its original" in first
    assert rest[-1].split()[0] == "I4"
    assert rest[-1].split()[-1] == "1"
    assert "Nothing is wrong." not in rest


def test_json_has_all_of_it(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["verify", "--spool", str(spool), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_well"]
    place = damage(spool)
    assert call(["verify", "--spool", str(spool), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["spool"], report["is_held"], report["more"]) == (str(spool), False, 0)
    assert [(item["rule"], item["place"]) for item in report["findings"]] == [("I4", place)]
    assert report["looked_at"]["results"] == 1
    assert report["not_looked_at"] == []


def test_many_findings_are_cut_and_counted(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (spool / "outbox").glob("*/output.jsonl")
    path.write_bytes(b"nonsense\n" * 200)
    assert call(["verify", "--spool", str(spool)]) == 1
    assert "more" in [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line]


def test_what_could_not_be_looked_at_is_said_and_is_no_finding(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (spool / "outbox").glob("*/metrics.json")
    metrics = json.loads(path.read_bytes())
    del metrics["files"]
    path.write_text(json.dumps(metrics))
    assert call(["verify", "--spool", str(spool)]) == 0
    assert capsys.readouterr().err.startswith("Not looked at: outbox/")


def test_no_spool_is_a_matter_of_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["verify", "--spool", str(tmp_path)]) == 78
    assert "is no spool" in capsys.readouterr().err


def test_a_surplus_argument_is_a_matter_of_usage() -> None:
    assert call(["verify", "here"]) == 2
