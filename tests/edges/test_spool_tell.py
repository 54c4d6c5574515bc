"""Telling a daemon what to do: one file, the latest wish."""

import os
from pathlib import Path

import pytest

from batchd.edges.spool import tell
from batchd.errors import ConfigError, SpoolError

ID = f"batch_{7:032x}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "control").mkdir()
    return tmp_path


def told(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "control").iterdir())


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        (["pause"], ["pause"]),
        (["pause", "resume"], ["resume"]),
        (["resume", "pause"], ["pause"]),
        (["pause", "cancel"], ["cancel", "pause"]),
        (["resume", "cancel", "resume"], ["cancel", "resume"]),
    ],
)
def test_a_wish_takes_the_place_of_its_opposite(root: Path, wishes: list[str], left: list[str]) -> None:
    for verb in wishes:
        tell(root, ID, verb)
    assert told(root) == [f"{ID}.{verb}" for verb in left]


def test_a_repeated_wish_is_as_young_as_its_repetition(root: Path) -> None:
    tell(root, ID, "pause")
    first = (root / "control" / f"{ID}.pause").stat()
    os.utime(root / "control" / f"{ID}.pause", (1, 1))
    tell(root, ID, "pause")
    again = (root / "control" / f"{ID}.pause").stat()
    assert again.st_mtime >= first.st_mtime
    assert again.st_ctime >= first.st_ctime


def test_a_link_in_its_place_is_replaced_and_not_followed(root: Path) -> None:
    (root / "elsewhere").write_bytes(b"secret")
    (root / "control" / f"{ID}.pause").symlink_to(root / "elsewhere")
    tell(root, ID, "pause")
    assert not (root / "control" / f"{ID}.pause").is_symlink()
    assert (root / "elsewhere").read_bytes() == b"secret"


def test_without_a_spool_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no spool"):
        tell(tmp_path, ID, "pause")


def test_a_directory_in_its_place_is_told_as_trouble_of_the_disk(root: Path) -> None:
    (root / "control" / f"{ID}.pause").mkdir()
    with pytest.raises(SpoolError):
        tell(root, ID, "pause")
