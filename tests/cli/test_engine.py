"""Engine and model file, as they are typed for `run` and `calibrate`."""

from pathlib import Path

import pytest

from batchd.cli.engine import check_engine, engine_flags, only_this_file
from batchd.errors import UsageError
from batchd.settings import LlamacppSettings, Settings


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_what_makes_sense_is_taken(gguf: Path) -> None:
    for engine, file in ((None, None), ("ollama", None), ("llamacpp", gguf), (None, gguf)):
        check_engine(engine, file)
    assert engine_flags(None, gguf) == {"engine": "llamacpp", "llamacpp.gguf": gguf}
    assert engine_flags("ollama", None) == {"engine": "ollama", "llamacpp.gguf": None}


@pytest.mark.parametrize(
    ("engine", "name", "words"),
    [
        ("llama", None, "There is no engine 'llama'"),
        ("ollama", "model.gguf", "not for ollama"),
        (None, "absent.gguf", "cannot be read"),
        (None, "plain.txt", "is not a GGUF file"),
    ],
)
def test_what_makes_none_is_refused(
    tmp_path: Path, gguf: Path, engine: str | None, name: str | None, words: str
) -> None:
    (tmp_path / "plain.txt").write_text("hello")
    with pytest.raises(UsageError, match=words):
        check_engine(engine, None if name is None else tmp_path / name)


def test_a_file_that_is_typed_wins_over_every_configured_model(tmp_path: Path, gguf: Path) -> None:
    embedded = LlamacppSettings(models={"m": gguf}, url="http://h")
    settings = Settings(spool=tmp_path, engine="llamacpp", llamacpp=embedded)
    assert only_this_file(settings, None) is settings
    chosen = only_this_file(settings, gguf).llamacpp
    assert (chosen.models, chosen.url) == ({}, None)
