"""The journal on a real disk: made, opened, newer, and damaged.

DIAGNOSTICS
    None: tests.
"""

import errno
import os
import zlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest

from batchd.core.lifecycle import Phase
from batchd.core.packing import SCHEMA_VERSION, pack_key
from batchd.core.record import Event, LineRow, NewLine, Outcome, Plan
from batchd.edges.journal import Journal, Retry
from batchd.edges.journal.environment import Environment
from batchd.edges.journal.rows import Changes
from batchd.errors import DamagedJournalError, FullJournalError, JournalError, JournalVersionError

TABLES = ("meta", "reqs", "cid", "state", "results", "inflight", "events", "plan")


def make(path: Path, lines: int) -> Journal:
    journal = Journal.create(str(path))
    journal.add_lines(
        [NewLine(index, LineRow(index, 1, zlib.crc32(b"x"), 0, index + 1)) for index in range(lines)]
    )
    journal.accept(Plan(lines, (), array("I")), {})
    journal.set_phase(Phase.IN_PROGRESS, {})
    return journal


def change(path: Path, table: str, key: bytes, value: bytes) -> None:
    """Write into a closed journal behind its back."""
    with (
        lmdb.open(str(path), max_dbs=len(TABLES), lib_version=0) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(key, value, db=environment.open_db(table.encode(), txn=transaction))


def value_of(path: Path, table: str, key: bytes) -> bytes:
    with (
        lmdb.open(str(path), max_dbs=len(TABLES), lib_version=0) as environment,
        environment.begin(write=True) as transaction,
    ):
        return transaction.get(key, b"", db=environment.open_db(table.encode(), txn=transaction))


def test_opening_where_no_journal_is_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as caught:
        Journal.open(str(tmp_path / "journal"))
    assert "no journal" in caught.value.message
    assert caught.value.next_step
    assert not (tmp_path / "journal").exists()


def test_the_directories_that_name_a_new_journal_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems do that by themselves when the file in it is synced, so a power cut may not tell."""
    synced: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    Journal.create(str(tmp_path / "journal")).close()
    assert synced == [str(tmp_path / "journal"), str(tmp_path)]


def test_a_lock_file_has_all_its_pages_before_lmdb_maps_it(tmp_path: Path) -> None:
    """On a full disk a hole in it would end the process when LMDB writes there."""
    Journal.create(str(tmp_path / "journal")).close()
    lock = (tmp_path / "journal" / "lock.mdb").stat()
    assert lock.st_blocks * 512 >= lock.st_size > 0


def test_a_journal_that_finds_no_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(FullJournalError, match="no space left"):
        Journal.create(str(tmp_path / "journal"))


def test_a_journal_that_finds_no_inode_says_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_files=1_000, f_favail=0))
    for method in ("posix_fallocate", "mkdir"):
        with monkeypatch.context() as one:
            one.setattr(os, method, refuse)
            with pytest.raises(FullJournalError, match="all inodes are used"):
                Journal.create(str(tmp_path / method))


def test_a_journal_is_never_made_over_another(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3).close()
    with pytest.raises(JournalError, match="already"):
        Journal.create(str(tmp_path / "journal"))
    again = Journal.open(str(tmp_path / "journal"))
    assert again.progress().total == 3
    again.close()


def test_a_journal_cannot_be_made_where_its_parent_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as caught:
        Journal.create(str(tmp_path / "missing" / "journal"))
    assert caught.value.next_step


def test_a_journal_that_was_killed_while_it_was_made_has_no_phase(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.mkdir()
    journal = Journal.open(str(path))
    assert journal.phase() is None
    journal.close()


def test_an_environment_without_a_commit_has_no_phase(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "journal"), lib_version=0).close()
    journal = Journal.open(str(tmp_path / "journal"))
    assert journal.phase() is None
    assert journal.progress().total == 0
    journal.close()


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    make(tmp_path / "journal", 1).close()
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "journal").iterdir()} == {0o600}


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    environment = Environment.create(str(tmp_path / "journal"))
    flags = environment._environment.flags()  # no kill can tell: only a power cut shows the difference
    environment.close()
    assert (flags["sync"], flags["metasync"], flags["map_async"], flags["writemap"]) == (
        True,
        True,
        False,
        False,
    )


@pytest.mark.parametrize("schema", [SCHEMA_VERSION + 1, SCHEMA_VERSION - 1, 12])
def test_another_schema_is_refused_and_the_journal_left_as_it_is(tmp_path: Path, schema: int) -> None:
    make(tmp_path / "journal", 1).close()
    change(tmp_path / "journal", "meta", b"schema", b"%d" % schema)
    before = (tmp_path / "journal" / "data.mdb").read_bytes()
    with pytest.raises(
        JournalVersionError, match=f"schema {schema}; this batchd knows {SCHEMA_VERSION}"
    ) as caught:
        Journal.open(str(tmp_path / "journal"))
    assert (tmp_path / "journal" / "data.mdb").read_bytes() == before
    assert {path.name for path in (tmp_path / "journal").iterdir()} == {"data.mdb", "lock.mdb"}
    assert "batchd that wrote it" in caught.value.next_step
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("meta", b"schema", b"none"),
        ("meta", b"phase", b"sleeping"),
        ("meta", b"counters", b"\0"),
        ("reqs", pack_key(7), b"one line too many"),
        ("results", pack_key(0), b"a result that nobody counted"),
    ],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, table: str, key: bytes, value: bytes) -> None:
    make(tmp_path / "journal", 3).close()
    change(tmp_path / "journal", table, key, value)
    with pytest.raises(DamagedJournalError) as caught:
        Journal.open(str(tmp_path / "journal"))
    assert caught.value.next_step


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "data.mdb").write_bytes(b"not a journal " * 1000)
    change(tmp_path / "foreign", "strange", b"key", b"value")
    for name in ("garbage", "foreign"):
        with pytest.raises(DamagedJournalError) as caught:
            Journal.open(str(tmp_path / name))
        assert caught.value.next_step


async def test_a_result_with_a_flipped_bit_is_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = make(path, 3)
    await journal.record(Outcome(1, b'{"answer":"yes"}'))
    journal.close()
    broken = bytearray(value_of(path, "results", pack_key(1)))
    broken[-3] ^= 1
    change(path, "results", pack_key(1), bytes(broken))
    with pytest.raises(JournalError, match="line index 1"):
        Journal.open(str(path))


async def test_a_result_that_is_damaged_after_opening_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = make(path, 2000)
    for index in range(2000):
        wait = journal.record(Outcome(index, b"%d" % index))
    await wait
    assert list(journal.results()) == [(index, False, b"%d" % index) for index in range(2000)]
    journal.close()
    # Among the oldest results, whose CRCs are not looked at when the journal is opened.
    change(path, "results", pack_key(12), value_of(path, "results", pack_key(13)))
    journal = Journal.open(str(path))
    results = journal.results()
    with pytest.raises(DamagedJournalError, match="line index 12"):
        list(results)
    journal.close()
    # The next look at the last results would find nothing wrong: it must not go on from there for ever.
    with pytest.raises(DamagedJournalError, match="before"):
        Journal.open(str(path))


def test_what_three_hours_of_a_full_disk_have_to_say_is_there_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of work, a peak and now and then a decision: once a second, with nobody who waits for it."""
    make(tmp_path / "journal", 2).close()
    is_full, commit = True, Environment.commit

    def refuse(self: Environment, changes: Sequence[Callable[[Changes], object]]) -> list[object]:
        if is_full:
            raise lmdb.DiskError("No space left on device")
        return commit(self, changes)

    monkeypatch.setattr(Environment, "commit", refuse)
    journal = Journal.open(str(tmp_path / "journal"), Retry(tries=2, first_s=0.001, longest_s=0.001))
    for second in range(10_800):
        journal.add_worked(1.0)
        journal.note("peaks", str(second))
        if second % 60 == 0:
            journal.log_event(Event(float(second), "slots", "1", "2", "a decision"))
    is_full = False
    journal.close()
    again = Journal.open(str(tmp_path / "journal"))
    assert again.progress().worked_s == 10_800
    assert again.meta()["peaks"] == "10799"
    assert [event.at for event in again.events()] == [60.0 * minute for minute in range(180)]
    again.close()
