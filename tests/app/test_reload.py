"""Settings that are read again: which hold, which wait, and what systemd and the log are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd.app.reload import CHANGEABLE, Reloading
from batchd.errors import ConfigError
from batchd.settings import Settings, load_settings
from tests.fakes.fake_clock import FakeClock
from tests.fakes.silent_service import SilentService


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {extra[event]} {message}")
    yield lines
    logger.remove(sink)


class World:
    """A file of settings, and who is told of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "batchd.toml"
        self.file.write_text("")
        self.adopted: list[Settings] = []
        self.service = SilentService()
        self.is_ready = True
        self.reload = Reloading(
            self.read(), self.read, self.adopted.append, self.service, FakeClock(), lambda: self.is_ready
        )

    def read(self) -> Settings:
        return load_settings({"spool": self.file.parent}, self.file, {})

    def says(self, text: str) -> None:
        self.file.write_text(text)
        self.reload()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_may_change_at_run_time_can_change_no_answer(world: World) -> None:
    assert set(Settings.model_fields) >= CHANGEABLE
    assert not CHANGEABLE & set(world.read().answer_settings())


def test_what_may_change_holds_and_is_said(world: World, said: list[str]) -> None:
    world.says('drain_s = 7\nlog_level = "DEBUG"\nattempts_max = 5\n')
    (settings,) = world.adopted
    assert (settings.drain_s, settings.log_level, settings.attempts_max) == (7.0, "DEBUG", 5)
    assert "INFO setting_changed setting drain_s: 30.0 -> 7.0\n" in said
    assert len(said) == 3
    assert world.service.told == ["reloading", "ready"]


def test_what_needs_a_restart_waits_and_is_said_without_its_value(world: World, said: list[str]) -> None:
    world.says('slots = 8\nsettle_s = 1\n[llamacpp]\napi_key = "a secret"\n')
    (settings,) = world.adopted
    assert (settings.slots, settings.settle_s) == (None, 1.0)
    assert settings.llamacpp.api_key is None
    assert sorted(line for line in said if line.startswith("WARNING")) == [
        "WARNING setting_waits setting llamacpp.api_key changed: needs a restart\n",
        "WARNING setting_waits setting slots changed: needs a restart\n",
    ]


@pytest.mark.parametrize("wrong", ["slotz = 1", "slots = 0", "slots =", "drain_s = 7\nslots = 0"])
def test_a_wrong_file_changes_nothing_and_is_said(world: World, said: list[str], wrong: str) -> None:
    world.says(wrong)
    assert world.adopted == []
    (line,) = said
    assert line.startswith("WARNING reload_refused settings not reloaded, the old ones hold: ")
    assert world.service.told == ["reloading", "ready"], "a reload that never ends would be a failed service"
    with pytest.raises(ConfigError):
        world.read()


def test_a_second_reload_is_compared_with_what_holds(world: World, said: list[str]) -> None:
    world.says("drain_s = 7\nslots = 8\n")
    said.clear()
    world.says("drain_s = 7\nslots = 8\n")
    assert said == ["WARNING setting_waits setting slots changed: needs a restart\n"]
    world.says("")
    assert said[1:] == ["INFO setting_changed setting drain_s: 7.0 -> 30.0\n"]
    world.says("")
    assert said[2:] == ["INFO setting_unchanged settings read again: nothing changed\n"]


def test_before_recovery_is_over_systemd_is_not_told_that_we_are_ready(world: World) -> None:
    world.is_ready = False
    world.says("drain_s = 7")
    assert world.service.told == []
    assert world.adopted[0].drain_s == 7.0
