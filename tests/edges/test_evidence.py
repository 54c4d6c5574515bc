"""Evidence: a spool as somebody sees it who changes nothing."""

import fcntl
import os
from pathlib import Path

import pytest

from batchd.core.audit.places import Kind
from batchd.edges.evidence import Evidence
from batchd.errors import ConfigError
from tests.fakes.users import STRANGER, acting_as, needs_root, shared_spool


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    for room in ("inbox", "processing", "archive", "partial", "outbox"):
        (tmp_path / room).mkdir()
    return Evidence.open(tmp_path)


def test_a_listing_says_what_each_name_is_and_follows_no_link(evidence: Evidence) -> None:
    place = evidence.root / "processing"
    (place / "d").mkdir()
    (place / "f").touch()
    (place / "l").symlink_to(place / "d")
    os.mkfifo(place / "p")
    kinds = {"d": Kind.DIRECTORY, "f": Kind.FILE, "l": Kind.LINK, "p": Kind.OTHER}
    assert evidence.listing(place) == kinds
    assert {name: evidence.kind(place / name) for name in kinds} == kinds
    assert evidence.kind(place / "nothing") is None
    assert evidence.kind(place / "f" / "inside") is None


def test_what_has_gone_is_empty_or_no_file(evidence: Evidence) -> None:
    assert evidence.listing(evidence.root / "absent") == {}
    (evidence.root / "file").touch()
    assert evidence.listing(evidence.root / "file") == {}
    assert evidence.content(evidence.root / "absent") is None
    assert evidence.size(evidence.root / "absent") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into everything")
def test_a_room_that_may_not_be_looked_into_says_what_helps(evidence: Evidence) -> None:
    (evidence.root / "processing").chmod(0)
    with pytest.raises(ConfigError) as caught:
        evidence.listing(evidence.root / "processing")
    assert "user of batchd" in caught.value.next_step
    (evidence.root / "processing").chmod(0o700)


def test_only_a_plain_file_is_opened_and_nobody_waits_for_a_pipe(evidence: Evidence) -> None:
    (evidence.root / "l").symlink_to("/etc/passwd")
    os.mkfifo(evidence.root / "p")
    for name in ("l", "p", "inbox"):
        with pytest.raises(OSError):  # noqa: PT011 - each kind has an errno of its own
            evidence.opened(evidence.root / name)


@pytest.mark.parametrize(
    ("size_bytes", "lines"),
    [
        (None, [b"ab\n", b"c\n", b"d"]),
        (6, [b"ab\n", b"c\n", b"d"]),
        (5, [b"ab\n", b"c\n"]),
        (4, [b"ab\n", b"c"]),
        (0, []),
    ],
)
def test_lines_end_where_the_file_ended_when_it_was_measured(
    evidence: Evidence, size_bytes: int | None, lines: list[bytes]
) -> None:
    (evidence.root / "f").write_bytes(b"ab\nc\nd")
    assert list(evidence.lines(evidence.root / "f", size_bytes)) == lines
    assert b"".join(evidence.blocks(evidence.root / "f")) == b"ab\nc\nd"
    assert evidence.size(evidence.root / "f") == 6


def test_the_lock_of_another_is_seen_and_left_alone(evidence: Evidence) -> None:
    assert not evidence.is_held()
    lock = evidence.root / "lock"
    lock.touch()
    assert not evidence.is_held()
    with lock.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert evidence.is_held()
    assert not evidence.is_held()


def test_results_of_run_lie_around_its_spool(tmp_path: Path) -> None:
    spool = tmp_path / "results" / ".spool"
    for room in ("inbox", "processing", "archive", "partial"):
        (spool / room).mkdir(parents=True)
    evidence = Evidence.open(spool)
    assert (evidence.outbox, evidence.owns_outbox) == (tmp_path / "results", False)
    assert Evidence.open(spool, tmp_path / "other").outbox == tmp_path / "other"
    (spool / "outbox").mkdir()
    assert Evidence.open(spool).owns_outbox


def test_a_small_file_that_is_large_is_not_read(evidence: Evidence) -> None:
    (evidence.root / "status.json").touch()
    os.truncate(evidence.root / "status.json", 10 << 30)
    with pytest.raises(OSError, match="larger than"):
        evidence.content(evidence.root / "status.json")


@needs_root
def test_a_spool_that_may_not_be_entered_is_a_sentence() -> None:
    with shared_spool() as root:
        root.chmod(0o700)
        with acting_as(STRANGER), pytest.raises(ConfigError, match="may not be looked into"):
            Evidence.open(root)
