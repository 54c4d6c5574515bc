"""A batchd in a process of its own, with exactly the settings that were given."""

import tomllib
from pathlib import Path

import pytest

from batchd.errors import BatchdError
from batchd.settings import Settings, load_settings
from batchd.tools.child import Child, config_text
from tests.batches import write_batch
from tests.simulator.child import ChildSimulator


def test_the_settings_of_a_child_are_read_back_as_they_were(tmp_path: Path) -> None:
    flags = {
        "spool": tmp_path / 'a "quoted"\\ \x7f place',
        "llamacpp.api_key": "se'cret",
        "llamacpp.models": {'name "x"': tmp_path / "m.gguf"},
        "model_aliases": {"gpt-4o": "m"},
        "ollama.mode": "attach",
        "failed_share_max": 0.25,
        "ollama.hosts": ["a", "b"],
    }
    settings = load_settings(flags, environ={"HOME": str(tmp_path)})
    (tmp_path / "c.toml").write_text(config_text(settings), encoding="utf-8")
    assert tomllib.loads(config_text(settings))["llamacpp"]["api_key"] == "se'cret"
    assert load_settings({}, tmp_path / "c.toml", environ={"HOME": "/"}) == settings


def settings_for(address: str, place: Path) -> Settings:
    flags = {"spool": place, "ollama.host": address, "ollama.mode": "attach", "slots": 2}
    return load_settings({**flags, "share_card": True}, environ={"HOME": str(place)})


def test_it_works_is_watched_and_ends_with_the_block(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "work.jsonl", 5, system="You are terse.")
    with ChildSimulator() as server:
        with Child(tmp_path / "run", settings_for(server.address, tmp_path)) as child:
            result = child.result(child.submit(batch, {}), 30.0)
            pid = child.pid
        assert len((result / "output.jsonl").read_bytes().splitlines()) == 5
    assert child.peak_bytes > 10**6
    assert not Path(f"/proc/{pid}/status").exists()


def test_one_that_ends_by_itself_says_its_last_lines(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / "spool").write_text("no directory")
    with (
        pytest.raises(BatchdError, match="ended by itself") as raised,
        Child(place, settings_for("127.0.0.1:1", tmp_path)) as child,
    ):
        child.submit(write_batch(tmp_path / "w.jsonl", 1), {})
    assert "spool" in raised.value.next_step


def test_one_that_needs_too_long_is_an_error_and_is_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(BatchdError, match="needs more than"),
        Child(tmp_path / "run", settings_for("127.0.0.1:1", tmp_path)) as child,
    ):
        child.wait_until(lambda: False, 0.3)
    assert not Path(f"/proc/{child.pid}/status").exists()
