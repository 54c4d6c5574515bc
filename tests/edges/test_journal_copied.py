"""A journal read from a copy: what its newest commit held, beside a writer that never rests too."""

import os
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pytest

from batchd.core.lifecycle import Phase
from batchd.core.record import LineStatus
from batchd.edges.journal import Journal
from batchd.edges.journal.copied import TRIES, BusyError, _copy_plain, copied
from batchd.errors import DamagedJournalError, JournalError
from tests.edges.test_journal_blows import ANSWER, ROOT, make


def test_a_copy_holds_what_was_committed(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3)
    written = subprocess.run(
        [sys.executable, "-c", RECORD, str(tmp_path / "journal")], cwd=ROOT, timeout=30, check=True
    )
    assert written.returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "journal").iterdir()}
    with copied(tmp_path / "journal") as journal:
        assert journal is not None
        assert journal.rows.phase() is Phase.IN_PROGRESS
        assert journal.rows.progress().completed == 1
        lines = list(journal.lines())
        assert [line.index for line in lines] == [0, 1, 2]
        assert lines[0].result == (False, b"yes" * 400)
        assert lines[0].state is not None
        assert lines[0].state.status is LineStatus.COMPLETED
        assert lines[1].is_inflight
        assert lines[1].result is None
        assert lines[2].row is not None
        assert lines[2].row.number == 3
        assert journal.result(0) == b"yes" * 400
        assert journal.result(2) is None
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "journal").iterdir()} == before


RECORD = """
import asyncio, sys
from batchd.core.record import Outcome
from batchd.edges.journal import Journal
journal = Journal.open(sys.argv[1])
async def main():
    await journal.record(Outcome(0, b"yes" * 400))
    await journal.intend([1])
asyncio.run(main())
journal.close()
"""


def test_a_journal_that_was_killed_while_it_was_made_is_none(tmp_path: Path) -> None:
    with copied(tmp_path / "absent") as journal:
        assert journal is None
    (tmp_path / "data.mdb").touch()
    with copied(tmp_path) as journal:
        assert journal is None


def test_a_journal_without_a_phase_is_readable(tmp_path: Path) -> None:
    Journal.create(str(tmp_path / "journal")).close()
    with copied(tmp_path / "journal") as journal:
        assert journal is not None
        assert journal.rows.phase() is None
        assert list(journal.lines()) == []


@pytest.mark.parametrize("left", [0.02, 0.3, 0.7])
def test_a_torn_journal_is_said_and_kills_nobody(tmp_path: Path, left: float) -> None:
    make(tmp_path / "journal", 5000)
    file = tmp_path / "journal" / "data.mdb"
    with file.open("r+b") as torn:
        torn.truncate(int(file.stat().st_size * left))
    with pytest.raises(JournalError, match="damaged"), copied(tmp_path / "journal"):
        pass


def test_beside_a_writer_every_copy_is_a_commit_of_its_own(tmp_path: Path) -> None:
    """Each holds as many results as its counters say, and more than the one before."""
    path = tmp_path / "journal"
    make(path, 20_000)
    writer = subprocess.Popen([sys.executable, "-c", ANSWER, str(path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    seen: list[int] = []
    busy = 0
    try:
        until = time.perf_counter() + 20
        while len(seen) < 8 and time.perf_counter() < until and writer.poll() is None:
            try:
                with copied(path) as journal:
                    assert journal is not None
                    found = sum(line.result is not None for line in journal.lines())
                    assert journal.rows.progress().completed == found
                    seen.append(found)
            except BusyError:
                busy += 1
    finally:
        writer.kill()
        writer.wait(10)
    assert seen == sorted(seen)
    assert len(seen) + busy >= 3
    with copied(path) as journal:
        assert journal is not None
        assert sum(line.result is not None for line in journal.lines()) >= max(seen, default=0)


class Committing:
    """Stands for the copying beside a daemon: so many commits end after the bytes were read."""

    def __init__(self, path: Path, commits: int) -> None:
        self._environment = lmdb.open(str(path), max_dbs=16, map_size=2**26, lib_version=0)
        self._meta = self._environment.open_db(b"meta")
        self._commits = commits
        self._copy = _copy_plain
        self.copies = 0

    def __call__(self, source: Path, target: Path) -> None:
        self.copies += 1
        for number in range(self._commits):
            with self._environment.begin(write=True) as transaction:
                transaction.put(b"value:late", b"%d" % number, db=self._meta)
        self._copy(source, target)

    def close(self) -> None:
        self._environment.close()


@pytest.mark.parametrize("commits", [0, 1])
def test_a_commit_while_it_is_copied_is_not_in_the_copy(
    commits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "journal", 10)
    committing = Committing(tmp_path / "journal", commits)
    monkeypatch.setattr("batchd.edges.journal.copied._copy_plain", committing)
    with copied(tmp_path / "journal") as journal:
        assert journal is not None
        assert "late" not in journal.rows.meta()
        assert len(list(journal.lines())) == 10
    assert committing.copies == 1
    committing.close()


def test_where_commits_come_too_fast_it_is_said_after_some_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "journal", 10)
    committing = Committing(tmp_path / "journal", 2)
    monkeypatch.setattr("batchd.edges.journal.copied._copy_plain", committing)
    with pytest.raises(BusyError, match="faster"), copied(tmp_path / "journal"):
        pass
    assert committing.copies == TRIES
    committing.close()


def test_a_copy_for_which_there_is_no_room_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "journal", 10)
    monkeypatch.setattr(os, "pwrite", _full)
    with pytest.raises(BusyError) as caught, copied(tmp_path / "journal"):
        pass
    assert "TMPDIR" in caught.value.next_step


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_pipe_in_the_place_of_a_journal_is_damage_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    os.mkfifo(tmp_path / "journal" / "data.mdb")
    with pytest.raises(DamagedJournalError, match="plain file"), copied(tmp_path / "journal"):
        pass


def test_meta_pages_of_any_size_are_not_believed(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3)
    data = tmp_path / "journal" / "data.mdb"
    raw = bytearray(data.read_bytes())
    raw[40:44] = (1 << 31).to_bytes(4, "little")  # the page size, at the beginning of the first table
    data.write_bytes(raw)
    os.truncate(data, 1 << 40)
    with pytest.raises(DamagedJournalError, match="meta pages"), copied(tmp_path / "journal"):
        pass


def test_a_journal_with_a_hole_of_a_terabyte_is_copied_with_its_hole(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3)
    os.truncate(tmp_path / "journal" / "data.mdb", 1 << 40)
    with copied(tmp_path / "journal") as journal:
        assert journal is not None
        assert len(list(journal.lines())) == 3
