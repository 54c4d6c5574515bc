"""A spool as a user finds it, without touching it."""

import os
from pathlib import Path

from batchd.edges.spool import Spool
from batchd.edges.spool.rights import disk_facts, spool_facts


def test_a_spool_that_batchd_made_is_its_owners(tmp_path: Path) -> None:
    Spool.open(tmp_path / "spool").close()
    before = sorted(path.name for path in (tmp_path / "spool").iterdir())
    facts = spool_facts(tmp_path / "spool", is_held=True)
    assert {room.name for room in facts.rooms} == {
        "inbox", "processing", "outbox", "partial", "control", "archive",
    }  # fmt: skip
    assert all(room.may_write and room.is_on_mount and room.owner == facts.user for room in facts.rooms)
    assert (facts.missing, facts.is_held, facts.is_remote) == ((), True, False)
    assert facts.file_system
    assert facts.group
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == before


def test_a_room_that_others_write_without_the_sticky_bit_is_seen(tmp_path: Path) -> None:
    Spool.open(tmp_path / "spool").close()
    (tmp_path / "spool" / "inbox").chmod(0o2770)
    facts = spool_facts(tmp_path / "spool", is_held=False)
    assert [room.name for room in facts.rooms if not room.is_apart] == ["inbox"]
    (tmp_path / "spool" / "inbox").chmod(0o2750)
    assert all(room.is_apart for room in spool_facts(tmp_path / "spool", is_held=False).rooms)


def test_where_there_is_none_the_directory_above_it_counts(tmp_path: Path) -> None:
    facts = spool_facts(tmp_path / "a" / "b", is_held=False)
    assert (facts.rooms, facts.missing, facts.may_be_made) == ((), (), True)
    assert not (tmp_path / "a").exists()


def test_half_a_spool_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    assert set(spool_facts(tmp_path, is_held=False).missing) == {
        "processing", "outbox", "partial", "control", "archive",
    }  # fmt: skip


def test_the_disk_is_measured_where_the_spool_will_be(tmp_path: Path) -> None:
    free_bytes, disk_bytes, free_files = disk_facts(tmp_path / "not" / "there")
    assert 0 < free_bytes <= disk_bytes
    assert free_files is None or free_files >= 0
    assert disk_bytes == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
