"""Where Ollama's models lie, as their owner sees it and as somebody else does."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from batchd.core.doctor.server import ModelPlace
from batchd.edges.ollama_server.models import look_at, other_places, own_place, user_name

NOBODY = 65_534


def fill(place: Path) -> Path:
    manifest = place / "manifests" / "registry" / "library" / "m" / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    (place / "blobs").mkdir()
    return place


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below pytest's own directory, which is closed to others by itself."""
    root = Path(tempfile.mkdtemp(prefix="batchd-test-"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def seen_by_nobody(place: Path) -> ModelPlace:
    """What another user finds; root sees everything, so a child gives its rights away."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.write(writing, json.dumps(asdict(look_at(place))).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return ModelPlace(**told)


def test_the_settings_win_over_the_environment_and_that_over_the_home(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "OLLAMA_MODELS": str(tmp_path / "env")}
    assert own_place(env, str(tmp_path / "set")).path == str(tmp_path / "set")
    assert own_place(env, None).path == str(tmp_path / "env")
    del env["OLLAMA_MODELS"]
    assert own_place(env, None).path == str(tmp_path / "home/.ollama/models")


def test_a_place_with_models_is_known_from_an_empty_one(tmp_path: Path) -> None:
    full = look_at(fill(tmp_path / "full"))
    (tmp_path / "empty" / "manifests").mkdir(parents=True)
    assert (full.exists, full.has_models, full.owner) == (True, True, user_name())
    assert not look_at(tmp_path / "empty").has_models
    assert not look_at(tmp_path / "absent").exists


def test_others_are_the_known_places_that_are_there(tmp_path: Path) -> None:
    service, mine = fill(tmp_path / "service"), look_at(tmp_path / "mine")
    assert [place.path for place in other_places(mine, (service, tmp_path / "absent"))] == [str(service)]
    assert other_places(look_at(service), (service,)) == []


def test_a_home_that_is_closed_to_us_is_named(home: Path) -> None:
    service = home / "ollama"
    place = fill(service / ".ollama" / "models")
    assert seen_by_nobody(place).has_models
    service.chmod(0 if os.geteuid() else 0o700)
    found = seen_by_nobody(place)
    service.chmod(0o755)
    assert (found.exists, found.has_models, found.blocked_at) == (True, False, str(service))
    assert found.owner == user_name()


def test_manifests_that_may_not_be_listed_are_closed_too(home: Path) -> None:
    place = fill(home / "models")
    (place / "manifests").chmod(0 if os.geteuid() else 0o711)
    found = seen_by_nobody(place)
    (place / "manifests").chmod(0o755)
    assert found.blocked_at == str(place / "manifests")
