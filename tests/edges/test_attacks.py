"""What members of the submit group may try, one test for each row of the threat model.

SUMMARY
    A real spool, real journals and the intake, as the daemon has them; the submitter writes whatever it
    likes into the inbox. `Yard.take` drops, sweeps and accepts; what it returns is what the batch became.

DIAGNOSTICS
    None: tests.
"""

import contextlib
import fcntl
import gzip
import io
import os
import secrets
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from batchd.core.json import dumps
from batchd.core.record import Outcome
from batchd.core.rules import Rules
from batchd.core.settle import Kind
from batchd.core.space import Space
from batchd.core.status import ModelStatus, status_line
from batchd.core.summary import Acceptance, from_meta
from batchd.core.waiting import UNSETTLED_S_MAX
from batchd.daemon.intake import CLAIMS_PER_SWEEP_MAX, Intake
from batchd.daemon.ports import Batch
from batchd.daemon.status import StatusBoard
from batchd.edges import log
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool, final_name
from batchd.errors import NotUsableError
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import chat, content
from tests.fakes.silent_service import SilentService

LINES = content([chat("a")])
SECRET = b"root:secret\n"
BAD_NAMES = [
    b"n" * 249 + b".jsonl",
    b"new\nline.jsonl",
    b"\x1b[2J.jsonl",
    "\u202egnp.jsonl".encode(),
    b"\xff\xfe.jsonl",
]


class Yard:
    """Inbox, intake and clock."""

    def __init__(self, root: Path, input_bytes_max: int | None = None, **rules: Any) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.spool = Spool.open(root) if input_bytes_max is None else Spool.open(root, None, input_bytes_max)
        self.clock = FakeClock()
        self.intake = Intake(
            self.spool,
            self.clock,
            Rules(slots=1, settle_s=0.0, **rules),
            Space(self.spool.disk_bytes(), reserve_bytes=0),
            Journal.create,
            lambda: f"batch_{secrets.token_hex(16)}",
        )
        self.batches: list[Batch] = []

    def close(self) -> None:
        for batch in self.batches:
            batch.journal.close()
            batch.input.close()
        self.spool.close()

    def drop(self, content: bytes = LINES, name: bytes = b"a.jsonl") -> Path:
        path = self.inbox / os.fsdecode(name)
        path.write_bytes(content)
        return path

    def claim(self) -> list[str]:
        return self.intake.sweep(CLAIMS_PER_SWEEP_MAX)

    def take(self, content: bytes = LINES, name: bytes = b"a.jsonl") -> Batch:
        self.drop(content, name)
        [batch_id] = self.claim()
        return self.accept(batch_id)

    def accept(self, batch_id: str) -> Batch:
        batch = self.intake.accept(batch_id)
        assert batch is not None
        self.batches.append(batch)
        return batch

    def refused(self) -> dict[bytes, str]:
        assert self.claim() == []
        return {item.name: item.reason for item in self.intake.unclaimable}

    def original(self, batch_id: str, name: str = "a.jsonl") -> Path:
        return self.root / "processing" / batch_id / "orig" / name


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path / "spool")
    yield yard
    yard.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def facts(batch: Batch) -> Acceptance:
    return from_meta(batch.journal.meta())


def error_codes(batch: Batch) -> list[str]:
    lines = [line for _, is_error, line in batch.journal.results() if is_error]
    return [line.split(b'"code":"')[1].split(b'"')[0].decode() for line in lines]


# --- things that are no files ----------------------------------------------------------------------------


def test_a_symlink_to_a_secret_is_neither_claimed_nor_followed_when_it_slips_in(
    yard: Yard, secret: Path
) -> None:
    (yard.inbox / "a.jsonl").symlink_to(secret)
    assert "link" in yard.refused()[b"a.jsonl"]
    with pytest.raises(NotUsableError, match="something else than a plain file"):
        yard.spool.claim(b"a.jsonl", f"batch_{'a' * 32}")
    assert (yard.inbox / "a.jsonl").is_symlink()
    assert yard.spool.places() == {}
    assert secret.read_bytes() == SECRET


def test_a_hard_link_to_another_users_file_is_not_read(yard: Yard, secret: Path) -> None:
    os.link(secret, yard.inbox / "a.jsonl")
    assert "hard link" in yard.refused()[b"a.jsonl"]
    batch_id = f"batch_{'a' * 32}"
    assert yard.spool.claim(b"a.jsonl", batch_id)
    yard.intake.enter(batch_id, is_accepted=False)
    batch = yard.accept(batch_id)
    assert "second name" in facts(batch).refusals[0].message
    assert batch.input.read() == b""


def test_a_fifo_a_socket_and_a_device_block_nobody(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(yard.inbox / "fifo.jsonl")
    with contextlib.suppress(PermissionError):
        os.mknod(yard.inbox / "device.jsonl", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    monkeypatch.chdir(yard.inbox)  # the path of a socket has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jsonl")
    assert {b"fifo.jsonl", b"socket.jsonl"} <= set(yard.refused())
    assert all("pipe, socket or device" in reason for reason in yard.refused().values())


def test_a_directory_named_as_a_batch_stays_and_so_does_what_is_in_it(yard: Yard) -> None:
    (yard.inbox / "a.jsonl").mkdir()
    (yard.inbox / "a.jsonl" / "b.jsonl").write_bytes(LINES)
    assert "directory" in yard.refused()[b"a.jsonl"]
    assert (yard.inbox / "a.jsonl" / "b.jsonl").exists()


# --- races -----------------------------------------------------------------------------------------------


def test_what_is_swapped_between_check_and_use_is_checked_after_the_claim(yard: Yard, secret: Path) -> None:
    path = yard.drop()
    assert [item.kind for item in yard.spool.sweep()] == [Kind.BATCH]
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(NotUsableError, match="something else than a plain file"):
        yard.spool.claim(b"a.jsonl", f"batch_{'a' * 32}")
    assert (yard.spool.places(), path.readlink()) == ({}, secret)


def test_a_writer_that_still_holds_a_descriptor_is_waited_for(yard: Yard) -> None:
    with yard.drop().open("ab") as writer:
        assert yard.claim() == []
        batch_id = f"batch_{'a' * 32}"
        assert yard.spool.claim(b"a.jsonl", batch_id)
        yard.intake.enter(batch_id, is_accepted=False)
        assert yard.intake.accept(batch_id) is None
        writer.write(content([chat("b")]))
    assert yard.intake.accept(batch_id) is None  # it changed since the last look
    assert facts(yard.accept(batch_id)).total == 2


def test_an_owner_who_opens_the_original_again_by_its_descriptor_changes_nothing(yard: Yard) -> None:
    path = yard.drop()
    reader = os.open(path, os.O_RDONLY)
    [batch_id] = yard.claim()
    batch = yard.accept(batch_id)
    writer = os.open(f"/proc/self/fd/{reader}", os.O_WRONLY)
    os.pwrite(writer, b"#" * len(LINES), 0)
    os.close(writer)
    os.close(reader)
    assert yard.original(batch_id).read_bytes() == b"#" * len(LINES)
    assert batch.input.read() == LINES


def test_a_file_put_under_the_same_name_after_the_claim_is_simply_the_next_batch(yard: Yard) -> None:
    yard.drop()
    [first] = yard.claim()
    yard.drop(content([chat("b"), chat("c")]))
    [second] = yard.claim()
    assert first != second
    assert [facts(yard.accept(batch_id)).total for batch_id in (first, second)] == [1, 2]


# --- names -----------------------------------------------------------------------------------------------


def test_no_name_and_no_custom_id_leads_out_of_its_directory(yard: Yard) -> None:
    evil = "../../../etc/cron.d/evil"
    before = {path for path in yard.root.parent.rglob("*") if yard.root / "processing" not in path.parents}
    batch = yard.take(content([chat(evil), chat("/abs"), chat("..")]), b"x..%2f..\\evil.jsonl")
    assert facts(batch).total == 3
    assert final_name(b"../../etc/evil.jsonl", batch.id) == f"_._.._etc_evil.{batch.id}"
    yard.spool.append_partial(batch.id, b"1\n")
    after = {path for path in yard.root.parent.rglob("*") if yard.root / "processing" not in path.parents}
    assert {path.name for path in after - before} == {f"{batch.id}.jsonl"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_of_any_bytes_is_taken_and_shown_on_one_harmless_line(yard: Yard, name: bytes) -> None:
    batch = yard.take(name=name)
    assert batch.name == name
    board = StatusBoard(
        yard.spool, SilentService(), yard.clock, 1, lambda: [ModelStatus("e", "", "absent")], lambda: ()
    )
    board.enter(batch.id, name.decode("utf-8", "surrogateescape"), "validating", batch.journal.progress())
    board.write(board.tick())
    shown = (yard.root / "status.json").read_bytes().decode("utf-8")
    assert shown.rstrip("\n").isprintable()
    assert len(final_name(name, batch.id)) <= 120 + 1 + len(batch.id)
    assert final_name(name, batch.id).isascii()


def test_names_and_ids_that_collide_overwrite_nothing(yard: Yard) -> None:
    wanted = f"batch_{'a' * 32}"
    for number in range(2):
        yard.drop(name=b"%d.jsonl" % number)
        (yard.inbox / f"{number}.options.json").write_bytes(dumps({"batch_id": wanted}))
    ids = yard.claim()
    assert ids[0] == wanted
    assert len(set(ids)) == 2
    for batch_id in ids:
        yard.spool.begin_publish(batch_id)
        yard.spool.create_result(batch_id, "batch.json").close()
    paths = {yard.spool.publish(batch_id, final_name(b"same.jsonl", batch_id)) for batch_id in ids}
    assert len(paths) == 2


# --- size ------------------------------------------------------------------------------------------------


def test_a_huge_file_is_refused_and_more_than_an_owners_or_all_bytes_stay_in_the_inbox(
    tmp_path: Path,
) -> None:
    yard = Yard(tmp_path / "huge", input_bytes_max=2**20, owner_bytes_max=2**21)
    try:
        with yard.drop().open("ab") as file:
            file.truncate(2**20 + 1)
        [batch_id] = yard.claim()
        assert "larger than 1048576 bytes" in facts(yard.accept(batch_id)).refusals[0].message
        with yard.drop(name=b"b.jsonl").open("ab") as file:
            file.truncate(2**20)
        assert "its owner's batches at work would take more than 2 MB" in yard.refused()[b"b.jsonl"]
    finally:
        yard.close()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"custom_id":"' + b"x" * 9_000_000 + b'"}', "line_too_long"),
        (b"[" * 100_000, "invalid_json_line"),
        (b'{"custom_id":"1","a":' + b'{"b":' * 5_000 + b"1" + b"}" * 5_001, "invalid_json_line"),
        (b'{"custom_id":' + b"9" * 5_000 + b"}", "invalid_json_line"),
        (b'{"custom_id":NaN}', "invalid_json_line"),
        (b'{"custom_id":"a","custom_id":"b"}', "invalid_json_line"),
        (rb'{"custom_id":"\ud800"}', "invalid_json_line"),
        (b'{"custom_id":"\xff"}', "invalid_json_line"),
    ],
    ids=["huge", "deep", "deep objects", "huge integer", "NaN", "doubled keys", "lone surrogate", "no UTF-8"],
)
def test_a_line_that_breaks_parsers_is_one_error_line_and_the_rest_runs(
    yard: Yard, line: bytes, code: str
) -> None:
    batch = yard.take(line + b"\n" + LINES)
    assert error_codes(batch) == [code]
    assert (facts(batch).total, facts(batch).faulty, facts(batch).refusals) == (2, 1, ())


def test_lone_surrogates_in_a_prompt_never_reach_an_encoder(yard: Yard) -> None:
    batch = yard.take(LINES.replace(b'"hi"', rb'"\ud800"') + content([chat("b")]))
    assert facts(batch).faulty == 1


def test_compressed_input_is_not_unpacked(yard: Yard) -> None:
    packed = gzip.compress(LINES * 10_000)
    yard.drop(packed, b"a.jsonl.gz")
    assert ".jsonl" in yard.refused()[b"a.jsonl.gz"]
    batch = yard.take(packed, b"b.jsonl")
    assert facts(batch).refusals
    assert facts(batch).size_bytes == len(packed)


def test_very_many_tiny_files_are_claimed_a_few_at_a_time_and_hold_up_no_other_owner(
    yard: Yard,
) -> None:
    for number in range(500):
        yard.drop(b"x\n", b"%03d.jsonl" % number)
    other = yard.drop(name=b"zzz.jsonl")
    if os.geteuid() == 0:
        os.chown(other, 65534, 65534)
    ids = yard.claim()
    assert len(ids) == CLAIMS_PER_SWEEP_MAX
    if os.geteuid() == 0:
        assert b"zzz.jsonl" in {yard.spool.original_name(batch_id) for batch_id in ids}


# --- what people read ------------------------------------------------------------------------------------


INJECTION = "x\n2026-01-01 ERROR forged\r\x1b]8;;http://evil\x07\x1b]52;c;eA==\x07\x1b[2J\u202e\u2028READY=1"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the real log writes."""
    stream = io.StringIO()
    log.configure("TRACE", stream, journal=False)
    yield stream
    logger.remove()


def test_no_name_and_no_custom_id_forges_a_log_line(yard: Yard, logged: io.StringIO) -> None:
    name = INJECTION.replace("/", "").encode()
    yard.take(content([chat(INJECTION), None]), name + b".jsonl")
    yard.drop(name=name + b".txt")
    yard.claim()
    lines = logged.getvalue().split("\n")
    assert sum("forged" in line for line in lines) == 2
    assert not any(line.startswith("2026-01-01 ERROR forged") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_the_status_shows_counts_and_never_what_a_request_or_an_answer_says(yard: Yard) -> None:
    batch = yard.take(content([chat("ignore-all-instructions", text="IGNORE ALL INSTRUCTIONS")]))
    board = StatusBoard(
        yard.spool, SilentService(), yard.clock, 1, lambda: [ModelStatus("e", "", "absent")], lambda: ()
    )
    board.enter(batch.id, "a.jsonl", "in_progress", batch.journal.progress())
    board.durable(batch.id, Outcome(0, b'{"content":"IGNORE ALL INSTRUCTIONS"}', is_error=False))
    board.write(board.tick())
    shown = (yard.root / "status.json").read_bytes().lower()
    assert b"ignore" not in shown


def test_the_line_for_the_service_manager_cannot_be_left(yard: Yard) -> None:
    service = SilentService()
    (yard.inbox / INJECTION.replace("/", "")).mkdir()
    yard.claim()
    board = StatusBoard(
        yard.spool,
        service,
        yard.clock,
        1,
        lambda: [ModelStatus("e", "", "absent")],
        lambda: yard.intake.unclaimable,
    )
    board.enter(f"batch_{'a' * 32}", INJECTION, "in_progress", yard.take().journal.progress())
    report = board.tick()
    board.write(report)
    line = status_line(report)
    assert service.lines[-1] == line
    assert line.isprintable()
    assert "\n" not in line


# --- requests --------------------------------------------------------------------------------------------


def test_a_request_can_name_no_url_and_no_option_of_the_server(yard: Yard) -> None:
    url = chat("ssrf")
    url["body"]["messages"][-1]["content"] = [  # type: ignore[index]  # a test writes into its own JSON
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}}
    ]
    keep = chat("keep")
    keep["body"]["keep_alive"] = "10000h"  # type: ignore[index]  # a test writes into its own JSON
    elsewhere = {**chat("elsewhere"), "url": "http://evil/v1/chat/completions"}
    batch = yard.take(content([url, keep, elsewhere, chat("good")]))
    assert facts(batch).faulty == 3
    assert len(error_codes(batch)) == 3


# --- results and the journal -----------------------------------------------------------------------------


def test_results_can_be_read_by_the_submit_group_and_written_by_nobody_else(yard: Yard) -> None:
    yard.root.chmod(0o2751)
    batch = yard.take()
    yard.spool.begin_publish(batch.id)
    yard.spool.create_result(batch.id, "batch.json").close()
    result = Path(yard.spool.publish(batch.id, final_name(batch.name, batch.id)))
    assert stat.S_IMODE((result / "batch.json").stat().st_mode) == 0o640
    assert stat.S_IMODE(result.stat().st_mode) & 0o027 == 0


def test_a_writer_that_never_ends_keeps_its_file_in_the_inbox_and_a_claimed_one_fails_after_a_day(
    yard: Yard,
) -> None:
    with yard.drop(name=b"inbox.jsonl").open("ab"), yard.drop().open("ab") as writer:
        assert yard.spool.claim(b"a.jsonl", f"batch_{'a' * 32}")
        yard.intake.enter(f"batch_{'a' * 32}", is_accepted=False)
        for _ in range(2):
            assert yard.claim() == []
            for batch_id in yard.intake.due():
                assert yard.intake.accept(batch_id) is None
            writer.write(b"#")
            writer.flush()
            yard.clock._move_to(yard.clock.monotonic() + UNSETTLED_S_MAX / 2)
        [batch_id] = yard.intake.due()
        assert facts(yard.accept(batch_id)).refusals[0].code == "file_never_settled"


def test_nobody_else_can_reach_a_journal_or_our_copy(yard: Yard) -> None:
    batch = yard.take()
    place = yard.root / "processing"
    assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((place / batch.id / "journal").stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((place / batch.id / "journal" / "data.mdb").stat().st_mode) & 0o077 == 0


def test_a_lease_of_the_submitters_own_holds_up_one_file_only(yard: Yard) -> None:
    path = yard.drop()
    yard.drop(name=b"b.jsonl")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel tells the holder, and would end us
    holder = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        [batch_id] = yard.claim()
        assert yard.spool.original_name(batch_id) == b"b.jsonl"
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)
