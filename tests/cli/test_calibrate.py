"""`batchd calibrate`: what is refused, and what is shown."""

import json
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.edges.spool import Spool
from tests.simulator.child import ChildSimulator


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHD_OLLAMA__MODE", "attach")
    monkeypatch.setenv("BATCHD_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("BATCHD_WINDOW_TOKENS_MAX", "2048")


@pytest.mark.usefixtures("_home")
def test_the_table_has_the_choice_and_the_files_lie_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChildSimulator(slots=2, decode_rate=200.0) as server:
        monkeypatch.setenv("BATCHD_OLLAMA__HOST", server.address)
        assert call(["calibrate", "smollm2:135m", "--minutes", "0.05"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0].split()[:3] == ["slots", "largest", "window"]
    assert "chosen" in told.out
    assert "proven: " in told.out
    assert "100%  done" in told.err
    picture, profile = sorted(told.out.splitlines()[-2:], reverse=True)
    assert (Path(picture).suffix, Path(profile).suffix) == (".svg", ".json")
    assert json.loads(Path(profile).read_bytes())["identity"]["model"] == "smollm2:135m"


@pytest.mark.usefixtures("_home")
def test_a_model_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChildSimulator() as server:
        monkeypatch.setenv("BATCHD_OLLAMA__HOST", server.address)
        assert call(["calibrate", "absent"]) == 75
    assert "does not have the model 'absent'" in capsys.readouterr().err


@pytest.mark.usefixtures("_home")
def test_beside_a_batchd_at_work_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool.open(tmp_path / "spool")
    try:
        assert call(["calibrate", "m", "--spool", str(tmp_path / "spool")]) == 75
    finally:
        spool.close()
    assert "A batchd is at work" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--engine", "x"], ["--gguf", "absent.gguf"], ["--minutes", "0"]])
def test_what_is_typed_wrongly_is_a_usage_error(words: list[str]) -> None:
    assert call(["calibrate", "m", *words]) == 2


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_home")
def test_a_real_model_is_measured_and_its_line_is_straight(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small_model: Path
) -> None:
    # Small windows: a trial fills them, and this machine may have two cores.
    monkeypatch.setenv("BATCHD_SLOTS", "2")
    monkeypatch.setenv("BATCHD_WINDOW_TOKENS_MAX", "1024")
    monkeypatch.setenv("BATCHD_COMPLETION_TOKENS_DEFAULT", "64")
    words = ["calibrate", "smollm2:135m", "--gguf", str(small_model), "--minutes", "0.05", "--json"]
    assert call(words) == 0
    profile = json.loads(capsys.readouterr().out)["profile"]
    assert [row["slots"] for row in profile["rows"]] == [1, 2]
    assert all(row["safe_tokens"] == 1_024 for row in profile["rows"])
    assert profile["source"] == "kernel"
    # 30 layers of 3 heads of 64, keys and values, in two bytes: 23,040 a token.
    assert 15_000 < profile["line"]["token_bytes"] < 40_000
    assert profile["proof"]["requests"] > 0
