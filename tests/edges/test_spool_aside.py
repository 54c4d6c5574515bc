"""A damaged journal on a real disk: put aside with the copy of its input, and kept with the original.

DIAGNOSTICS
    None: tests.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.core.lifecycle import Place
from batchd.edges.spool import Spool

ID = "batch_" + "a" * 32
CONTENT = b'{"custom_id":"1"}\n'
AT_WORK = Place(has_original=True, has_copy=True, has_journal=True, has_publish=True)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A batch at work, its results half assembled."""
    opened = Spool.open(tmp_path)
    (tmp_path / "inbox" / "a.jsonl").write_bytes(CONTENT)
    opened.claim(b"a.jsonl", ID)
    opened.copy_input(ID)
    journal = Path(opened.journal_path(ID))
    journal.mkdir()
    (journal / "data.mdb").write_bytes(b"noise")
    opened.begin_publish(ID)
    assert opened.places() == {ID: AT_WORK}
    yield opened
    opened.close()


def put_aside(spool: Spool) -> None:
    spool.put_journal_aside(ID)
    spool.reset_intake(ID)


def copy_of(spool: Spool) -> bytes:
    with spool.open_input(ID) as file:
        return file.read()


def test_a_journal_that_is_put_aside_keeps_its_bytes_and_the_copy_stays(spool: Spool) -> None:
    put_aside(spool)
    [aside] = spool.journals_aside(ID)
    assert Path(aside).name == "journal.damaged-1"
    assert (Path(aside) / "data.mdb").read_bytes() == b"noise"
    assert spool.places() == {ID: Place(True, True, False, False)}
    assert copy_of(spool) == CONTENT


def test_the_copy_is_believed_and_not_the_original_which_its_owner_can_still_change(
    spool: Spool, tmp_path: Path
) -> None:
    put_aside(spool)
    (tmp_path / "processing" / ID / "orig" / "a.jsonl").write_bytes(b"something else\n")
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert spool.copy_input(ID) == (digest, len(CONTENT))
    assert spool.copy_nothing(ID) == (digest, len(CONTENT))
    assert copy_of(spool) == CONTENT


def test_a_second_one_gets_a_name_of_its_own(spool: Spool) -> None:
    put_aside(spool)
    Path(spool.journal_path(ID)).mkdir()
    put_aside(spool)
    assert [Path(path).name for path in spool.journals_aside(ID)] == [
        "journal.damaged-1",
        "journal.damaged-2",
    ]


def test_the_evidence_goes_into_the_archive_with_the_original(spool: Spool, tmp_path: Path) -> None:
    put_aside(spool)
    spool.archive(ID)
    kept = tmp_path / "archive" / ID
    assert {path.name for path in kept.iterdir()} == {"a.jsonl", ".journal.damaged-1"}
    assert (kept / ".journal.damaged-1" / "data.mdb").read_bytes() == b"noise"
    spool.archive(ID)
    spool.discard(ID)
    assert spool.expire_archive(-1.0, 10**12) == 1
    assert not kept.exists()


def test_evidence_beside_the_original_is_no_batch_file(spool: Spool, tmp_path: Path) -> None:
    put_aside(spool)
    (tmp_path / "processing" / ID / "journal.damaged-1").rename(
        tmp_path / "processing" / ID / "orig" / ".journal.damaged-1"
    )
    assert spool.original_name(ID) == b"a.jsonl"
    assert spool.places()[ID].has_original
