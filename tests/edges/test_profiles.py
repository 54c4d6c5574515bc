"""The files of calibrations."""

import os
from pathlib import Path

import pytest

from batchd.edges.profiles import key_of, read_all, save
from batchd.errors import ConfigError


def test_a_profile_and_its_picture_lie_side_by_side_and_replace_older_ones(tmp_path: Path) -> None:
    place = tmp_path / "a" / "profiles"
    for content in (b"old", b"new"):
        path = save(place, "m.1", content, "<svg/>")
    assert path == place / "m.1.json"
    assert sorted(item.name for item in place.iterdir()) == ["m.1.json", "m.1.svg"]
    assert list(read_all(place)) == [(path, b"new")]
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_there_is_nothing_nothing_is_read(tmp_path: Path) -> None:
    assert list(read_all(tmp_path / "absent")) == []
    (tmp_path / "x.json").mkdir()
    assert list(read_all(tmp_path)) == []


def test_a_directory_that_cannot_be_written_is_said_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        save(tmp_path / "file" / "profiles", "m.1", b"", "")
    assert "BATCHD_PROFILES" in refused.value.next_step


def test_keys_differ_where_identities_do() -> None:
    assert key_of(b"a") != key_of(b"b")
    assert len(key_of(os.urandom(8))) == 12
