"""The real spool against the odd: what submitters can do to it, and what a crash can leave.

DIAGNOSTICS
    None: tests.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from batchd.core.lifecycle import Place
from batchd.core.settle import Kind, Seen
from batchd.edges.spool import Spool, final_name, submit_file
from batchd.edges.spool.disk import rename_new
from batchd.edges.spool.layout import file_system_of, is_remote
from batchd.edges.spool.trouble import as_spool_error
from batchd.errors import (
    ConfigError,
    InputChangedError,
    NoSpaceError,
    NotUsableError,
    SpoolError,
    UnavailableError,
    UsageError,
)

ID = "batch_" + "a" * 32
CONTENT = b'{"custom_id":"1"}\n'
NOBODY = 65534


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}", level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    opened = Spool.open(root)
    yield opened
    opened.close()


@contextlib.contextmanager
def somebody_else(*readable: Path) -> Iterator[None]:
    """Without root's power to read everything."""
    if os.geteuid() != 0:
        yield
        return
    for path in readable:
        path.chmod(0o777)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def drop(root: Path, name: bytes = b"a.jsonl", content: bytes = CONTENT) -> Path:
    path = root / "inbox" / os.fsdecode(name)
    path.write_bytes(content)
    return path


def only(spool: Spool) -> Seen:
    (seen,) = spool.sweep()
    return seen


def descriptor_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- opening ---------------------------------------------------------------------------------------------


def test_a_fresh_spool_keeps_others_out_and_says_whose_it_is(spool: Spool, root: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if path.is_dir()}
    assert modes == {
        "inbox": 0o3770,
        "processing": 0o2700,
        "outbox": 0o2750,
        "partial": 0o2750,
        "control": 0o3770,
        "archive": 0o2700,
    }
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert "batchd" in (root / "README").read_text()


def test_directories_that_exist_keep_their_modes(root: Path) -> None:
    (root / "inbox").mkdir(parents=True)
    (root / "inbox").chmod(0o3770)
    Spool.open(root).close()
    assert stat.S_IMODE((root / "inbox").stat().st_mode) == 0o3770


def test_a_second_batchd_is_told_who_holds_the_spool(spool: Spool, root: Path) -> None:
    before = descriptor_count()
    with pytest.raises(UnavailableError) as caught:
        Spool.open(root)
    assert f"process {os.getpid()}" in caught.value.message
    assert "batchd submit --wait" in caught.value.next_step
    assert "batchd status" in caught.value.next_step
    assert descriptor_count() == before


def test_a_closed_spool_can_be_opened_again(root: Path) -> None:
    before = descriptor_count()
    Spool.open(root).close()
    Spool.open(root).close()
    assert descriptor_count() == before


def test_a_spool_on_two_file_systems_is_refused(root: Path) -> None:
    elsewhere = Path("/dev/shm") / f"batchd-test-{os.getpid()}"
    try:
        with pytest.raises(ConfigError, match="one mount"):
            Spool.open(root, outbox=elsewhere)
        assert list(elsewhere.iterdir()) == []
        assert list((root / "processing").iterdir()) == []
    finally:
        elsewhere.rmdir()


def test_the_outbox_may_lie_elsewhere_on_the_same_mount(root: Path, tmp_path: Path) -> None:
    spool = Spool.open(root, outbox=tmp_path / "results")
    try:
        drop(root)
        spool.claim(b"a.jsonl", ID)
        spool.begin_publish(ID)
        assert spool.publish(ID, f"a.{ID}") == os.fspath(tmp_path / "results" / f"a.{ID}")
        assert (tmp_path / "results" / f"a.{ID}").is_dir()
        assert not (root / "outbox").exists()
    finally:
        spool.close()


def test_the_type_of_a_mount_is_found_by_its_number() -> None:
    mountinfo = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "220 22 0:53 / /srv/a\\040b rw - nfs4 server:/ rw\n"
    )
    assert file_system_of(mountinfo, "pos:\t0\nflags:\t0\nmnt_id:\t220\nino:\t7\n") == "nfs4"
    assert file_system_of(mountinfo, "mnt_id:\t22\n") == "ext4"
    assert file_system_of(mountinfo, "mnt_id:\t9\n") == ""


def test_the_real_mount_table_is_understood(spool: Spool, root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    try:
        fdinfo = Path(f"/proc/self/fdinfo/{fd}").read_text()
    finally:
        os.close(fd)
    assert file_system_of(Path("/proc/self/mountinfo").read_text(), fdinfo) != ""


@pytest.mark.parametrize(
    ("file_system", "expected"),
    [
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("fuseblk", True),
        ("ext4", False),
        ("tmpfs", False),
    ],
)
def test_remote_file_systems_are_known(file_system: str, expected: bool) -> None:
    assert is_remote(file_system) is expected


def test_a_spool_of_ones_own_settles_fast(spool: Spool) -> None:
    assert spool.default_settle_s() == 2.0


def test_without_the_lease_capability_a_shared_inbox_settles_slowly(spool: Spool, root: Path) -> None:
    root.chmod(0o751)
    (root / "inbox").chmod(0o2770)
    with somebody_else():
        if "CapEff:\t0000000000000000" in Path("/proc/self/status").read_text():
            assert spool.default_settle_s() == 10.0


# --- the inbox -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b".a.jsonl.x7Yz",
        b"a.jsonl.part",
        b"a.partial",
        b"a.jsonl.filepart",
        b"a.tmp",
        b".a.jsonl.swp",
        b"a.jsonl~",
    ],
)
def test_names_of_unfinished_copies_are_not_even_listed(spool: Spool, root: Path, name: bytes) -> None:
    drop(root, name)
    assert list(spool.sweep()) == []


def test_a_link_stays_where_it_is_with_a_reason(spool: Spool, root: Path) -> None:
    (root / "inbox" / "a.jsonl").symlink_to("/etc/passwd")
    seen = only(spool)
    assert seen.kind is Kind.UNCLAIMABLE
    assert "link" in seen.reason


def test_a_fifo_stays_where_it_is_and_blocks_nobody(spool: Spool, root: Path) -> None:
    os.mkfifo(root / "inbox" / "a.jsonl")
    assert only(spool).kind is Kind.UNCLAIMABLE
    assert spool.has_writer(b"a.jsonl") is None


def test_a_directory_stays_where_it_is_with_a_reason(spool: Spool, root: Path) -> None:
    (root / "inbox" / "a.jsonl").mkdir()
    assert only(spool).kind is Kind.UNCLAIMABLE
    assert "directory" in only(spool).reason


def test_a_file_with_a_second_name_is_not_claimed_until_it_is_gone(spool: Spool, root: Path) -> None:
    os.link(drop(root), root / "second")
    assert "hard link" in only(spool).reason
    (root / "second").unlink()
    assert only(spool).kind is Kind.BATCH


def test_another_suffix_is_no_batch(spool: Spool, root: Path) -> None:
    drop(root, b"notes.txt")
    assert ".jsonl" in only(spool).reason


def test_an_unreadable_file_says_what_helps(spool: Spool, root: Path) -> None:
    drop(root).chmod(0)
    with somebody_else(root, root / "inbox"):
        seen = only(spool)
    assert seen.kind is Kind.UNCLAIMABLE
    assert "chmod g+r" in seen.reason


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe.jsonl", b"new\nline\x1b[31m.jsonl", "\u202egnp.jsonl".encode(), b"n" * 249 + b".jsonl"],
)
def test_any_name_can_be_claimed_and_copied(spool: Spool, root: Path, name: bytes) -> None:
    drop(root, name)
    assert only(spool).name == name
    assert spool.claim(name, ID)
    assert spool.peek_options(name) is None
    assert not spool.claim_options(name, ID)
    assert spool.read_options(name, ID) is None
    assert spool.original_name(ID) == name
    assert spool.copy_input(ID)[1] == len(CONTENT)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"../outbox", b"inbox/a.jsonl"])
def test_a_claim_never_leaves_the_inbox(spool: Spool, root: Path, name: bytes) -> None:
    with pytest.raises(SpoolError):
        spool.claim(name, ID)
    assert spool.places() == {}


def test_a_writer_is_seen_until_it_closes(spool: Spool, root: Path) -> None:
    path = drop(root)
    with path.open("ab"):
        assert spool.has_writer(b"a.jsonl") is True
    assert spool.has_writer(b"a.jsonl") is False


def test_a_reader_is_no_writer(spool: Spool, root: Path) -> None:
    with drop(root).open("rb"):
        assert spool.has_writer(b"a.jsonl") is False


def test_of_a_file_that_another_user_owns_nobody_can_say_without_the_capability(
    spool: Spool, root: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the file must belong to another user")
    drop(root).chmod(0o644)
    with somebody_else(root / "inbox"):
        assert spool.has_writer(b"a.jsonl") is None


_CONTENDERS = """
import os, sys, threading
from batchd.edges.spool.disk import has_writer

path = sys.argv[1]
done = threading.Event()

def write() -> None:
    while not done.is_set():
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except BlockingIOError:
            pass

thread = threading.Thread(target=write)
thread.start()
fd = os.open(path, os.O_RDONLY)
for _ in range(20_000):
    has_writer(fd)
done.set()
thread.join()
print("alive")
"""


def test_a_writer_that_comes_while_we_ask_does_not_end_us(spool: Spool, root: Path) -> None:
    child = [sys.executable, "-c", _CONTENDERS, os.fspath(drop(root))]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_a_file_exchanged_for_a_directory_is_no_fault_of_the_spool(spool: Spool, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the directory must belong to another user")
    (root / "inbox" / "a.jsonl").mkdir()
    with somebody_else(root / "inbox", root / "processing"), pytest.raises(NotUsableError, match="denied"):
        spool.claim(b"a.jsonl", ID)
    assert spool.places() == {}


def test_an_inbox_that_was_made_anew_is_used_and_it_is_said(
    spool: Spool, root: Path, said: list[str]
) -> None:
    (root / "inbox").rmdir()
    before = descriptor_count()
    for _ in range(3):
        assert list(spool.sweep()) == []
    assert sum("the inbox: it is gone" in line for line in said) == 1
    (root / "inbox").mkdir()
    drop(root)
    assert only(spool).name == b"a.jsonl"
    assert sum("the new one is used" in line for line in said) == 1
    assert spool.claim(b"a.jsonl", ID)
    assert spool.copy_input(ID)[1] == len(CONTENT)
    assert list((root / "inbox").iterdir()) == []
    assert descriptor_count() == before


def test_what_stands_in_the_place_of_the_inbox_and_is_none_is_left_alone(
    spool: Spool, root: Path, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jsonl").write_bytes(CONTENT)
    (root / "inbox").rmdir()
    (root / "inbox").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        assert list(spool.sweep()) == []
    assert sum("cannot be used" in line for line in said) == 1
    (root / "inbox").unlink()
    (root / "inbox").write_bytes(b"")
    assert list(spool.sweep()) == []


def test_options_that_are_a_link_make_the_batch_unusable(spool: Spool, root: Path) -> None:
    drop(root)
    (root / "inbox" / "a.options.json").symlink_to("/etc/passwd")
    assert spool.peek_options(b"a.jsonl") is None
    spool.claim(b"a.jsonl", ID)
    assert spool.claim_options(b"a.jsonl", ID)
    with pytest.raises(NotUsableError):
        spool.read_options(b"a.jsonl", ID)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_options_that_are_no_file_are_not_moved(
    spool: Spool, root: Path, make: Callable[[Path], None]
) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)
    make(root / "inbox" / "a.options.json")
    assert not spool.claim_options(b"a.jsonl", ID)
    assert (root / "inbox" / "a.options.json").exists()
    assert spool.read_options(b"a.jsonl", ID) is None


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("name", [b"a.jsonl", b"a.options.json"])
def test_options_whose_owner_cannot_be_looked_up_are_never_just_left_out(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch, name: bytes, code: int
) -> None:
    opened = os.open

    def refused(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == name and flags & os.O_PATH:
            raise OSError(code, os.strerror(code))
        return opened(path, flags, mode, dir_fd=dir_fd)

    def is_refused(use: Callable[[], object]) -> None:
        monkeypatch.setattr(os, "open", refused)
        with pytest.raises(SpoolError):
            use()
        monkeypatch.undo()

    drop(root)
    drop(root, b"a.options.json", b'{"strict":true}')
    is_refused(lambda: spool.peek_options(b"a.jsonl"))
    assert spool.claim(b"a.jsonl", ID)
    is_refused(lambda: spool.claim_options(b"a.jsonl", ID))
    assert spool.claim_options(b"a.jsonl", ID)
    is_refused(lambda: spool.read_options(b"a.jsonl", ID))
    assert spool.read_options(b"a.jsonl", ID) == b'{"strict":true}'


def test_a_claim_for_which_the_disk_has_no_room_leaves_no_trace(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(root)
    make = os.mkdir

    def full(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if name == "orig":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        make(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(NoSpaceError):
        spool.claim(b"a.jsonl", ID)
    monkeypatch.undo()
    assert not spool.is_known(ID)
    assert spool.claim(b"a.jsonl", ID)


def test_a_full_disk_that_lacks_only_inodes_says_so(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkdir", full)
    said = []
    for free_files in (0, 1):
        counts = SimpleNamespace(f_files=1_000, f_favail=free_files)
        monkeypatch.setattr(os, "statvfs", lambda place, counts=counts: counts)
        with pytest.raises(NoSpaceError) as caught:
            spool.begin_publish(ID)
        said.append(caught.value.message)
    assert "all inodes are used" in said[0]
    assert "No space left on device" in said[1]


def test_a_packed_file_is_told_how_to_be_handed_in(spool: Spool, root: Path) -> None:
    drop(root, b"a.jsonl.gz")
    [seen] = spool.sweep()
    assert seen.kind is Kind.UNCLAIMABLE
    assert "gunzip" in seen.reason


def test_litter_of_our_own_making_is_removed_when_it_is_old(spool: Spool, root: Path) -> None:
    inbox = root / "inbox"
    ours = [f".submit-{'0' * 16}.batch", f".submit-{'1' * 16}.options"]
    others = [".submit-mine.batch", f".submit-{'2' * 16}.batch.jsonl", ".a.jsonl.x7Yz", "a.jsonl"]
    for name in (*ours, *others):
        (inbox / name).touch()
    (inbox / f".probe-{'3' * 16}").mkdir()
    now = (inbox / ours[0]).stat().st_ctime
    assert spool.remove_litter(now + 35 * 3_600) == 0
    assert spool.remove_litter(now + 37 * 3_600) == 3
    assert {path.name for path in inbox.iterdir()} == set(others)


# --- processing ------------------------------------------------------------------------------------------


def odd_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def odd_fifo(path: Path) -> None:
    os.mkfifo(path)


def odd_directory(path: Path) -> None:
    path.mkdir()


def odd_hard_link(path: Path) -> None:
    path.write_bytes(CONTENT)
    os.link(path, path.parent.parent / "second")


@pytest.mark.parametrize("make", [odd_link, odd_fifo, odd_directory, odd_hard_link])
def test_what_is_no_file_of_its_own_in_orig_is_refused_and_goes_with_the_archive(
    spool: Spool, root: Path, make: Callable[[Path], None]
) -> None:
    (root / "processing" / ID / "orig").mkdir(parents=True)
    make(root / "processing" / ID / "orig" / "a.jsonl")  # as a power cut during a claim may leave it
    with pytest.raises(NotUsableError):
        spool.copy_input(ID)
    assert spool.places() == {ID: Place(True, False, False, False)}
    spool.archive(ID)
    spool.discard(ID)
    spool.empty_trash(ID)
    assert spool.expire_archive(0.0, 1e12) == 1
    assert Path("/etc/passwd").stat().st_size > 0


def test_a_file_above_the_limit_is_refused_before_it_is_copied(root: Path) -> None:
    spool = Spool.open(root, input_bytes_max=len(CONTENT) - 1)
    try:
        drop(root)
        spool.claim(b"a.jsonl", ID)
        with pytest.raises(NotUsableError, match="larger"):
            spool.copy_input(ID)
    finally:
        spool.close()


def test_the_copy_is_ours_alone_and_read_only(spool: Spool, root: Path) -> None:
    drop(root, content=b"x" * (3 * 2**20 + 1))
    spool.claim(b"a.jsonl", ID)
    assert spool.copy_input(ID)[1] == 3 * 2**20 + 1
    found = (root / "processing" / ID / "input.jsonl").stat()
    assert stat.S_IMODE(found.st_mode) == 0o400
    assert found.st_ino != (root / "processing" / ID / "orig" / "a.jsonl").stat().st_ino


def test_a_writer_that_still_holds_the_original_puts_the_copy_off(spool: Spool, root: Path) -> None:
    with drop(root).open("ab"):
        spool.claim(b"a.jsonl", ID)
        with pytest.raises(InputChangedError):
            spool.copy_input(ID)
    assert spool.places() == {ID: Place(True, False, False, False)}
    assert spool.copy_input(ID)[1] == len(CONTENT)


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_an_original_that_changes_while_it_is_copied_is_not_believed(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)
    read = os.readv
    original = root / "processing" / ID / "orig" / "a.jsonl"

    def read_then_change(fd: int, buffers: list[memoryview]) -> int:
        count = read(fd, buffers)
        if count:
            with original.open(mode) as file:
                file.write(b"#")
        return count

    monkeypatch.setattr(os, "readv", read_then_change)
    with pytest.raises(InputChangedError):
        spool.copy_input(ID)
    monkeypatch.undo()
    assert not spool.places()[ID].has_copy
    assert spool.copy_input(ID)[1] == original.stat().st_size


def test_a_claim_that_was_begun_holds_nothing(spool: Spool, root: Path) -> None:
    (root / "processing" / ID / "orig").mkdir(parents=True)
    assert spool.places() == {ID: Place(False, False, False, False)}
    assert spool.original_name(ID) is None
    spool.discard(ID)
    spool.empty_trash(ID)
    assert spool.places() == {}


@pytest.mark.parametrize("left", ["", "orig"])
def test_what_a_claim_without_room_left_is_no_batch_and_is_used_by_the_next(
    spool: Spool, root: Path, left: str
) -> None:
    (root / "processing" / ID / left).mkdir(parents=True)
    drop(root)
    assert not spool.is_known(ID)
    assert spool.claim(b"a.jsonl", ID)
    assert spool.is_known(ID)
    assert spool.original_name(ID) == b"a.jsonl"


@pytest.mark.parametrize("held", ["orig/other.jsonl", "input.jsonl", "journal"])
def test_what_holds_anything_is_a_batch_and_is_not_claimed_into(spool: Spool, root: Path, held: str) -> None:
    place = root / "processing" / ID / held
    place.parent.mkdir(parents=True)
    place.touch()
    drop(root)
    assert spool.is_known(ID)
    with pytest.raises(SpoolError, match="in processing/ already"):
        spool.claim(b"a.jsonl", ID)
    assert place.exists()


def test_a_deletion_that_was_interrupted_is_finished(spool: Spool, root: Path) -> None:
    trash = root / "processing" / f".trash-{ID}"
    (trash / "journal").mkdir(parents=True)
    (trash / "journal" / "data.mdb").write_bytes(b"x")
    (root / "partial" / f"{ID}.jsonl").write_bytes(b"one\n")
    assert spool.is_known(ID)
    assert spool.strangers() == []
    assert spool.places() == {}
    assert not trash.exists()
    assert not (root / "partial" / f"{ID}.jsonl").exists()
    assert not spool.is_known(ID)


def test_deletion_follows_no_link(spool: Spool, root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    drop(root)
    spool.claim(b"a.jsonl", ID)
    (root / "processing" / ID / "journal").symlink_to(precious)
    (root / "processing" / ID / "orig" / "link").symlink_to(precious)
    spool.discard(ID)
    spool.empty_trash(ID)
    assert (precious / "file").exists()
    assert spool.places() == {}


def test_strangers_are_named_and_left_alone(spool: Spool, root: Path) -> None:
    processing = root / "processing"
    (processing / "notes").mkdir()
    (processing / ".trash-mine").mkdir()
    (processing / os.fsdecode(b"\xff\n")).touch()
    (processing / f"batch_{'c' * 32}").touch()
    (processing / ID).mkdir()
    (processing / ID / "somebody's").touch()
    assert spool.places() == {}
    assert set(spool.strangers()) == {"notes", ".trash-mine", "\\udcff\\x0a", f"batch_{'c' * 32}", ID}
    assert len(list(processing.iterdir())) == 5


def test_two_batch_files_in_one_directory_are_a_persons_hand(spool: Spool, root: Path) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)
    (root / "processing" / ID / "orig" / "b.jsonl").touch()
    with pytest.raises(SpoolError, match="2 batch files"):
        spool.original_name(ID)


# --- results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_group_can_read_results_whatever_the_umask(spool: Spool, root: Path, umask: int) -> None:
    root.chmod(0o2751)
    old = os.umask(umask)
    try:
        drop(root)
        spool.claim(b"a.jsonl", ID)
        spool.begin_publish(ID)
        spool.create_result(ID, "output.jsonl").close()
        spool.publish(ID, f"a.{ID}")
    finally:
        os.umask(old)
    result = root / "outbox" / f"a.{ID}"
    assert stat.S_IMODE(result.stat().st_mode) & 0o2750 == 0o2750
    assert stat.S_IMODE(result.stat().st_mode) & 0o007 & ~0o005 == 0
    assert stat.S_IMODE((result / "output.jsonl").stat().st_mode) == 0o640


def test_results_belong_to_the_group_of_processing(spool: Spool, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a group that is not ours")
    os.chown(root / "processing", 0, NOBODY)
    (root / "processing").chmod(0o2700)
    drop(root)
    spool.claim(b"a.jsonl", ID)
    spool.begin_publish(ID)
    spool.create_result(ID, "output.jsonl").close()
    spool.publish(ID, f"a.{ID}")
    assert (root / "outbox" / f"a.{ID}" / "output.jsonl").stat().st_gid == NOBODY


def test_a_directory_in_the_outbox_with_anything_in_it_is_not_replaced(spool: Spool, root: Path) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)
    spool.begin_publish(ID)
    (root / "outbox" / f"a.{ID}").mkdir()
    (root / "outbox" / f"a.{ID}" / "mine").touch()
    with pytest.raises(SpoolError, match="already"):
        spool.publish(ID, f"a.{ID}")
    assert (root / "outbox" / f"a.{ID}" / "mine").exists()
    assert spool.remains_path(ID) == os.fspath(root / "outbox" / f"a.{ID}")


def archived(spool: Spool, root: Path, batch_id: str) -> Path:
    drop(root)
    spool.claim(b"a.jsonl", batch_id)
    spool.archive(batch_id)
    spool.discard(batch_id)
    spool.empty_trash(batch_id)
    return root / "archive" / batch_id


def test_an_original_that_cannot_be_deleted_is_said_once_and_keeps_no_other(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    kept, vanished, old = (archived(spool, root, f"batch_{n:032x}") for n in (1, 2, 3))
    remove = os.rmdir

    def refused(name: str, *, dir_fd: int) -> None:
        if name == kept.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        if name == vanished.name:
            remove(vanished)
        remove(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", refused)
    assert spool.expire_archive(0.0, 1e12) == 1
    assert spool.expire_archive(0.0, 1e12) == 0
    assert (kept.exists(), vanished.exists(), old.exists()) == (True, False, False)
    assert [line.strip() for line in said] == [
        f"archive/{kept.name} cannot be deleted and stays: Permission denied"
    ]


def test_an_original_that_vanishes_before_it_is_looked_at_is_no_trouble(
    spool: Spool, root: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    first, second = (archived(spool, root, f"batch_{n:032x}") for n in (1, 2))
    look = os.stat

    def stat_after_it_went(name: str, **kwargs: Any) -> os.stat_result:
        if name == first.name and first.exists():
            (first / "a.jsonl").unlink()
            first.rmdir()
        return look(name, **kwargs)

    monkeypatch.setattr(os, "stat", stat_after_it_went)
    assert spool.expire_archive(0.0, 1e12) == 1
    assert not second.exists()
    assert said == []


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b"])
def test_a_result_is_named_by_one_visible_name(spool: Spool, root: Path, name: str) -> None:
    drop(root)
    spool.claim(b"a.jsonl", ID)
    spool.begin_publish(ID)
    with pytest.raises(SpoolError):
        spool.create_result(ID, name)
    with pytest.raises(SpoolError):
        spool.publish(ID, name)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        (b"reviews.jsonl", "reviews"),
        (b"two words.v2.jsonl", "two_words.v2"),
        (b"\xff\n\x1b/.jsonl", "____"),
        (b"..jsonl", "_"),
        (b"-rf.jsonl", "_rf"),
        (b".jsonl", "batch"),
        (b"n" * 249 + b".jsonl", "n" * 120),
        ("больше.jsonl".encode(), "_" * 12),
    ],
)
def test_the_final_name_keeps_what_is_harmless(name: bytes, stem: str) -> None:
    assert final_name(name, ID) == f"{stem}.{ID}"


def test_a_rename_refuses_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            rename_new("a", fd, "b", fd)
        with pytest.raises(FileNotFoundError):
            rename_new("c", fd, "d", fd)
    finally:
        os.close(fd)


def test_a_full_disk_is_said_with_the_next_step() -> None:
    error = as_spool_error(
        "a batch was copied", OSError(errno.ENOSPC, "No space left on device", b"\xff\x1b")
    )
    assert error.message == (
        "The spool failed when a batch was copied: No space left on device (b'\\xff\\x1b')."
    )
    assert "Make room" in error.next_step


# --- partial, status, control ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "kept"),
    [(b"one\ntw", b"one\n"), (b"one\n", b"one\n"), (b"torn", b""), (b"one\n" + b"x" * 200_000, b"one\n")],
)
def test_a_torn_line_is_cut_before_the_next_answer(
    spool: Spool, root: Path, left: bytes, kept: bytes
) -> None:
    partial = root / "partial" / f"{ID}.jsonl"
    partial.write_bytes(left)
    spool.append_partial(ID, b"next\n")
    assert partial.read_bytes() == kept + b"next\n"


def test_many_batches_share_few_descriptors(spool: Spool, root: Path) -> None:
    before = descriptor_count()
    ids = [f"batch_{number:032x}" for number in range(50)]
    for _ in range(2):
        for batch_id in ids:
            spool.append_partial(batch_id, b"one\n")
    assert descriptor_count() - before <= 32
    assert {(root / "partial" / f"{batch_id}.jsonl").read_bytes() for batch_id in ids} == {b"one\none\n"}


def test_what_is_no_control_is_not_seen(spool: Spool, root: Path) -> None:
    control = root / "control"
    for name in (f"{ID}.explode", "batch_1.cancel", f".{ID}.cancel", "cancel", f"{ID}.cancel.tmp"):
        (control / name).touch()
    (control / f"{ID}.cancel").mkdir()
    assert list(spool.controls(0.0)) == []
    assert spool.control_at(ID, "cancel") is None
    with pytest.raises(SpoolError):
        spool.control_at(ID, "explode")
    with pytest.raises(SpoolError):
        spool.remove_control("../inbox/a", "cancel")


def test_the_oldest_controls_come_first_whatever_their_owner_says(spool: Spool, root: Path) -> None:
    ids = [f"batch_{number:032x}" for number in (3, 1, 2)]
    for number, batch_id in enumerate(ids):
        path = root / "control" / f"{batch_id}.cancel"
        path.touch()
        os.utime(path, (9 - number, 9 - number))
        time.sleep(0.01)  # the grain of a change time
    assert [batch_id for batch_id, _, _ in spool.controls(0.0)] == ids


def test_a_directory_in_the_place_of_the_options_is_no_options_file(spool: Spool, root: Path) -> None:
    (root / "inbox" / "a.options.json").mkdir()
    before = descriptor_count()
    assert spool.peek_options(b"a.jsonl") is None
    assert descriptor_count() == before


def test_a_lease_that_the_owner_took_after_the_claim_concerns_one_batch(spool: Spool, root: Path) -> None:
    (root / "inbox" / "a.jsonl").write_bytes(b"{}\n")
    assert spool.claim(b"a.jsonl", ID)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel tells the holder, and would end us
    holder = os.open(root / "processing" / ID / "orig" / "a.jsonl", os.O_RDONLY)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(InputChangedError):
            spool.copy_input(ID)
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


# --- submit ----------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_bytes(CONTENT)
    return path


def inbox_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "inbox").iterdir()}


def test_a_submitted_file_arrives_with_its_options(spool: Spool, root: Path, source: Path) -> None:
    assert submit_file(root, source, "a.jsonl", {"batch_id": ID}).name == "a.jsonl"
    assert inbox_of(root) == {"a.jsonl": CONTENT, "a.options.json": b'{"batch_id":"%s"}' % ID.encode()}
    assert {item.kind for item in spool.sweep()} == {Kind.BATCH, Kind.OPTIONS}


def test_submitting_overwrites_nothing(spool: Spool, root: Path, source: Path) -> None:
    drop(root, b"a.jsonl", b"first")
    drop(root, b"a-1.options.json", b"somebody's")
    assert submit_file(root, source, "a.jsonl", None).name == "a-2.jsonl"
    assert submit_file(root, source, "a.jsonl", {}).name == "a-3.jsonl"
    assert inbox_of(root) == {
        "a.jsonl": b"first",
        "a-1.options.json": b"somebody's",
        "a-2.jsonl": CONTENT,
        "a-3.jsonl": CONTENT,
        "a-3.options.json": b"{}",
    }


@pytest.mark.parametrize("name", ["../outbox/a.jsonl", ".a.jsonl", "x" * 300 + ".jsonl", "", "a"])
def test_a_submitted_name_is_made_a_name_that_a_sweep_takes(
    spool: Spool, root: Path, source: Path, name: str
) -> None:
    submit_file(root, source, name, {})
    assert [item.kind for item in spool.sweep()] in (
        [Kind.BATCH, Kind.OPTIONS],
        [Kind.OPTIONS, Kind.BATCH],
    )


def test_submitting_without_a_spool_or_a_file_says_which(spool: Spool, root: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match="no inbox"):
        submit_file(root / "nowhere", source, "a.jsonl", None)
    with pytest.raises(UsageError, match="cannot be read"):
        submit_file(root, root / "missing.jsonl", "a.jsonl", None)
    with pytest.raises(UsageError, match="Is a directory"):
        submit_file(root, root, "a.jsonl", None)
    assert inbox_of(root) == {}


def test_a_file_that_is_not_what_it_was_is_not_handed_in(spool: Spool, root: Path, source: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert submit_file(root, source, "a.jsonl", {}, right) == ("a.jsonl", right)
    source.write_bytes(CONTENT + CONTENT)
    with pytest.raises(UsageError, match="changed while it was handed in"):
        submit_file(root, source, "b.jsonl", {}, right)
    assert set(inbox_of(root)) == {"a.jsonl", "a.options.json"}


def test_an_original_is_kept_though_somebody_deleted_the_archive_meanwhile(spool: Spool, root: Path) -> None:
    kept = archived(spool, root, f"batch_{1:032x}")
    shutil.rmtree(root / "archive")
    again = archived(spool, root, f"batch_{2:032x}")
    assert not kept.exists()
    assert (again / "a.jsonl").exists()
    assert spool.expire_archive(0.0, 1e12) == 1
