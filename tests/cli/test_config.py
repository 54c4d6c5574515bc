"""`batchd config`: what is set, where it came from, what is wrong."""

import json
from pathlib import Path

import pytest

from batchd.cli import call


def written(folder: Path, content: str) -> str:
    path = folder / "batchd.toml"
    path.write_text(content)
    return str(path)


def test_each_setting_is_shown_with_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHD_DRAIN_S", "7")
    file = written(tmp_path, "slots = 2")
    assert call(["config", "--config", file]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    shown = {row[0]: (row[1], row[2].strip()) for row in rows}
    assert shown["slots"] == ("2", f"file {file}")
    assert shown["drain_s"] == ("7.0", "environment")
    assert shown["engine"] == ("ollama", "default")


def test_json_says_the_same_and_masks_the_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHD_LLAMACPP__API_KEY", "hunter2")
    assert call(["config", "--json"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    shown = json.loads(out)
    assert shown["wrong"] == []
    assert shown["settings"]["llamacpp.api_key"] == {"value": "********", "source": "environment"}


def test_a_wrong_value_ends_with_78_and_the_table_still_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "slots = 0")
    assert call(["config", "--config", file]) == 78
    told = capsys.readouterr()
    assert "Setting 'slots' (0, from file" in told.err
    assert "engine" in told.out


def test_an_unknown_name_ends_with_78_and_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["config", "--check", "--config", written(tmp_path, "slot = 1")]) == 78
    assert "Did you mean 'slots'?" in capsys.readouterr().err


def test_files_that_settings_name_are_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent, present = tmp_path / "absent.gguf", tmp_path / "present.gguf"
    present.touch()
    models = f"engine = 'llamacpp'\n[llamacpp.models]\na = '{present}'\n"
    assert call(["config", "--check", "--config", written(tmp_path, models)]) == 0
    assert call(["config", "--check", "--config", written(tmp_path, models + f"b = '{absent}'\n")]) == 78
    assert f"llamacpp.models, 'b': there is no {absent}" in capsys.readouterr().err


def test_the_embedded_engine_without_any_model_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["config", "--check", "--config", written(tmp_path, "engine = 'llamacpp'")]) == 78
    told = capsys.readouterr()
    assert "nothing says which model" in told.err
    assert told.out == ""


def test_check_alone_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["config", "--check"]) == 0
    assert capsys.readouterr().out == "Nothing is wrong with these settings.\n"
