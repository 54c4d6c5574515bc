"""`batchd doctor`: what is printed, and the exit code."""

import json
from pathlib import Path

import pytest

from batchd.cli import call


@pytest.fixture
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHD_OLLAMA__HOST", "127.0.0.1:9")
    monkeypatch.setenv("BATCHD_OLLAMA__MODE", "attach")


@pytest.mark.usefixtures("_alone")
def test_a_machine_without_an_engine_is_told_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["doctor", "--quick", "--spool", str(tmp_path / "spool")]) == 1
    told = capsys.readouterr().out
    assert told.startswith("problem   engine: Ollama does not answer at http://127.0.0.1:9")
    assert "          -> " in told
    assert "1 of " in told.splitlines()[-1]


@pytest.mark.usefixtures("_alone")
def test_as_json_every_finding_has_its_five_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["doctor", "--quick", "--json", "--spool", str(tmp_path / "spool")]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["is_well"] is False
    assert all(set(item) == {"topic", "verdict", "saw", "means", "step"} for item in told["findings"])
    assert told["findings"][0]["verdict"] == "problem"


@pytest.mark.usefixtures("_alone")
def test_wrong_settings_are_a_finding_and_hide_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHD_SLOTS", "many")
    monkeypatch.setenv("PATH", "")
    assert call(["doctor", "--quick", "--json", "--spool", str(tmp_path / "spool")]) == 1
    topics = [item["topic"] for item in json.loads(capsys.readouterr().out)["findings"]]
    assert topics[0] == "settings"
    assert {"engine", "disk", "spool"} <= set(topics)
