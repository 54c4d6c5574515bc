"""Telling a daemon what to do: one file, the latest wish."""

import os
import time
from pathlib import Path

import pytest

from batchd.edges.spool import tell
from batchd.errors import ConfigError, SpoolError
from tests.fakes.users import ALICE, MALLORY, STRANGER, acting_as, needs_root, shared_spool

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


# --- several members -------------------------------------------------------------------------------------


@needs_root
def test_what_another_member_asked_stands_and_is_revoked_by_a_younger_wish() -> None:
    with shared_spool() as root:
        with acting_as(ALICE):
            tell(root, ID, "pause")
        asked = (root / "control" / f"{ID}.pause").stat()
        with acting_as(MALLORY):
            tell(root, ID, "pause")
            assert (root / "control" / f"{ID}.pause").stat() == asked
            tell(root, ID, "resume")
        assert told(root) == [f"{ID}.pause", f"{ID}.resume"]
        revoked = (root / "control" / f"{ID}.resume").stat()
        assert (revoked.st_uid, revoked.st_ctime_ns >= asked.st_ctime_ns) == (MALLORY, True)
        with acting_as(MALLORY):
            tell(root, ID, "pause")  # he takes his own wish back, and hers is left
        assert told(root) == [f"{ID}.pause"]


@needs_root
def test_a_wish_that_two_others_have_overruled_cannot_be_repeated_before_the_daemon_took_them() -> None:
    with shared_spool() as root:
        for verb in ("pause", "resume"):
            with acting_as(ALICE):
                (root / "control" / f"{ID}.{verb}").touch()
            time.sleep(0.02)  # the clock of the file system has ticks
        with acting_as(MALLORY), pytest.raises(SpoolError, match="not taken them yet"):
            tell(root, ID, "pause")


@needs_root
def test_a_stranger_can_ask_nothing() -> None:
    with shared_spool() as root, acting_as(STRANGER), pytest.raises(ConfigError, match="no spool"):
        tell(root, ID, "cancel")
