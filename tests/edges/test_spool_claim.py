"""The claim against a member of the submit group who changes the name at the worst moment.

DIAGNOSTICS
    None: tests.
"""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchd import failpoints
from batchd.edges.spool import Spool, disk
from batchd.errors import NotUsableError, SpoolError
from tests.fakes.users import (
    ALICE,
    DAEMON,
    MALLORY,
    MEMORY,
    Other,
    acting_as,
    another,
    needs_root,
    shared_spool,
)

ID = "batch_" + "a" * 32
NAME = b"a.jsonl"
CONTENT = b'{"custom_id":"1"}\n'


@pytest.fixture
def root() -> Iterator[Path]:
    with shared_spool() as root:
        yield root


@pytest.fixture
def mallory() -> Iterator[Other]:
    with another(MALLORY) as other:
        yield other


@pytest.fixture
def alice() -> Iterator[Other]:
    with another(ALICE) as other:
        yield other


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Spool]:
    """The daemon's, with the daemon's rights."""
    with acting_as(DAEMON):
        spool = Spool.open(root)
        try:
            yield spool
        finally:
            spool.close()


@contextlib.contextmanager
def just_before(moment: str, act: Callable[[], None]) -> Iterator[None]:
    """Once, at a failpoint."""
    done: list[str] = []

    def reach(name: str) -> None:
        if name == moment and not done:
            done.append(name)
            act()

    failpoints.arm(reach)
    try:
        yield
        assert done
    finally:
        failpoints.arm(None)


def write(path: Path, content: bytes = CONTENT, mode: int = 0o640) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def become(path: Path, kind: str) -> None:
    """Something else takes the file's place."""
    path.unlink()
    make(path, kind)


def make(path: Path, kind: str) -> None:
    match kind:
        case "directory" | "open directory" | "full directory":
            path.mkdir()
            if kind == "full directory":
                (path / "b.jsonl").write_bytes(CONTENT)
            path.chmod(0o755 if kind == "directory" else 0o777)
        case "link":
            path.symlink_to("/etc/passwd")
        case "dangling link":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case _:
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path.name)


def deep(path: Path, levels: int) -> None:
    """A directory in a directory, and so on; a path to the last one is too long to be written."""
    path.mkdir()
    path.chmod(0o777)
    fd = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", 0o777, dir_fd=fd)
        fd, before = os.open("d", os.O_RDONLY, dir_fd=fd), fd
        os.close(before)
    os.close(fd)


KINDS = ["directory", "open directory", "full directory", "link", "dangling link", "fifo", "socket"]


@needs_root
@pytest.mark.parametrize("moment", ["claim.begun", "claim.place_synced"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_the_files_place_between_sweep_and_rename_is_back_in_the_inbox(
    root: Path, mallory: Other, kind: str, moment: str
) -> None:
    path = root / "inbox" / "a.jsonl"
    mallory.do(write, path)
    with opened(root) as spool:
        with (
            just_before(moment, lambda: mallory.do(become, path, kind)),
            pytest.raises(NotUsableError) as said,
        ):
            spool.claim(NAME, ID)
        assert "plain file" in said.value.message
        assert (spool.places(), spool.strangers()) == ({}, [])
    assert path.is_symlink() or path.exists()
    assert path.lstat().st_uid == MALLORY
    mallory.do(Path.rename, path, root / "inbox" / "mine again")


@needs_root
def test_what_cannot_go_back_under_its_name_goes_back_under_another(root: Path, mallory: Other) -> None:
    path = root / "inbox" / "a.jsonl"
    mallory.do(write, path)

    def act(moment: str) -> None:
        if moment == "claim.place_synced":
            mallory.do(become, path, "fifo")
        elif moment == "claim.renamed":
            mallory.do(write, path, b"another\n")

    with opened(root) as spool:
        failpoints.arm(act)
        try:
            with pytest.raises(NotUsableError):
                spool.claim(NAME, ID)
        finally:
            failpoints.arm(None)
        assert (spool.places(), spool.strangers()) == ({}, [])
        [returned] = [left for left in (root / "inbox").iterdir() if left.name.startswith(".returned-")]
        assert returned.is_fifo()
        assert path.read_bytes() == b"another\n"
        assert spool.remove_litter(returned.lstat().st_ctime + 40 * 3_600) == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("moment", ["claim.renamed", "claim.orig_synced"])
def test_a_claim_that_cannot_become_durable_stays_a_claim_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, code: int
) -> None:
    root = tmp_path / "spool"

    def refused(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    with contextlib.closing(Spool.open(root)) as spool:
        (root / "inbox" / "a.jsonl").write_bytes(CONTENT)
        fill = just_before(moment, lambda: monkeypatch.setattr(os, "fsync", refused))
        with fill, pytest.raises(SpoolError) as caught:
            spool.claim(NAME, ID)
        monkeypatch.undo()
        assert type(caught.value) is SpoolError  # not NoSpaceError: intake would go on without it
        assert os.strerror(code) in caught.value.message
    with contextlib.closing(Spool.open(root)) as spool:
        assert (list(spool.places()), spool.strangers()) == ([ID], [])
        assert spool.copy_input(ID, lambda block: True)[1] == len(CONTENT)


@needs_root
def test_a_directory_that_its_owner_nails_down_in_our_hands_is_put_aside_and_holds_up_nothing(
    root: Path, mallory: Other, alice: Other
) -> None:
    path = root / "inbox" / "a.jsonl"
    mallory.do(write, path)

    def hold() -> None:
        mallory.do(become, path, "full directory")
        mallory.do(keep_open, path)

    def nail(moment: str) -> None:
        if moment == "claim.place_synced":
            hold()
        elif moment == "claim.renamed":
            mallory.do(nail_down)

    with opened(root) as spool:
        failpoints.arm(nail)
        try:
            with pytest.raises(NotUsableError):
                spool.claim(NAME, ID)
        finally:
            failpoints.arm(None)
        assert not spool.is_known(ID)
        assert spool.places() == {}
        [aside] = spool.strangers()
        assert aside.startswith(f".aside-{ID}-")
        alice.do(write, path)
        assert spool.claim(NAME, ID)
    with opened(root) as spool:
        assert list(spool.places()) == [ID]


_HELD: list[int] = []


def keep_open(path: Path) -> None:
    _HELD.append(os.open(path, os.O_RDONLY))


def nail_down() -> None:
    """Of the directory itself, wherever it lies by now."""
    os.fchmod(_HELD[-1], 0o755)


@needs_root
def test_an_immutable_file_stays_with_a_reason(root: Path, mallory: Other) -> None:
    path = root / "inbox" / "a.jsonl"
    mallory.do(write, path)
    try:
        set_immutable(path, True)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM):
            raise
        pytest.skip("this file system has no immutable files")
    try:
        with opened(root) as spool:
            with pytest.raises(NotUsableError, match="cannot be moved"):
                spool.claim(NAME, ID)
            assert spool.places() == {}
    finally:
        set_immutable(path, False)


def set_immutable(path: Path, is_immutable: bool) -> None:
    """As chattr does (linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, 0x80086601, struct.pack("l", 0)))
        flags = flags | 0x10 if is_immutable else flags & ~0x10
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flags))
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "code",
    [
        *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EXDEV),
        *(errno.EBUSY, errno.ETXTBSY, errno.ESTALE, errno.ENAMETOOLONG),
    ],
)
def test_a_rename_that_is_refused_concerns_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = Spool.open(tmp_path / "spool")
    write(tmp_path / "spool" / "inbox" / "a.jsonl")

    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk, "rename_new", refused)
    with pytest.raises(NotUsableError, match="cannot be moved"):
        spool.claim(NAME, ID)
    monkeypatch.undo()
    assert spool.places() == {}
    assert spool.claim(NAME, ID)
    spool.close()


# --- options ---------------------------------------------------------------------------------------------


@needs_root
def test_options_of_another_user_are_neither_read_nor_moved_and_hold_up_no_batch(
    root: Path, mallory: Other, alice: Other
) -> None:
    mallory.do(write, root / "inbox" / "a.options.json", b'{"batch_id":"batch_' + b"f" * 32 + b'"}')
    alice.do(write, root / "inbox" / "a.jsonl")
    with opened(root) as spool:
        assert spool.peek_options(NAME) is None
        assert spool.claim(NAME, ID)
        assert not spool.claim_options(NAME, ID)
        assert spool.read_options(NAME, ID) is None
    assert (root / "inbox" / "a.options.json").exists()


@needs_root
def test_options_that_lie_in_orig_and_are_another_users_are_not_believed(root: Path, alice: Other) -> None:
    alice.do(write, root / "inbox" / "a.jsonl")
    with opened(root) as spool:
        assert spool.claim(NAME, ID)
        planted = root / "processing" / ID / "orig" / "a.options.json"
        planted.write_bytes(b"{}")  # as an older batchd would have moved it
        assert spool.read_options(NAME, ID) is None


# --- deletion --------------------------------------------------------------------------------------------


LEVELS, FILES = 10_000, 3_000


@contextlib.contextmanager
def few_descriptors() -> Iterator[None]:
    """Twenty more than are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_root
def test_a_strangers_tree_of_any_depth_in_the_archive_is_deleted_and_costs_no_descriptors(
    root: Path, mallory: Other
) -> None:
    mallory.do(deep, root / "inbox" / "tree", LEVELS)
    with opened(root) as spool:
        (root / "archive" / ID).mkdir()
        (root / "inbox" / "tree").rename(root / "archive" / ID / "a.jsonl")  # as an older batchd did
        with few_descriptors():
            assert spool.expire_archive(0.0, 1e12) == 0  # his directories: what we may not delete stays
    assert (root / "archive" / ID).exists()


def test_a_tree_of_any_depth_and_breadth_is_deleted_within_few_descriptors() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        grow_and_delete(Path(folder))


def grow_and_delete(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    deep(tree, LEVELS)
    for number in range(FILES):
        (tree / f"{number}").touch()
        (tree / f".up-{number % 50}").touch()
    (tree / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").write_bytes(CONTENT)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with few_descriptors():
            assert disk.remove_tree("tree", fd)
            assert not disk.remove_tree("tree", fd)
    finally:
        os.close(fd)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_deletion_of_very_many_goes_on_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    for number in range(25):
        (tmp_path / "tree" / "inner" / f"{number}").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    left = []
    try:
        while not disk.remove_tree("tree", fd, entries_max=10):
            left.append(len(list((tmp_path / "tree" / "inner").iterdir())))
    finally:
        os.close(fd)
    assert left == [16, 7]  # each call pays one for the directory that holds them
    assert list(tmp_path.iterdir()) == []


# --- members from each other -----------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("room", ["inbox", "control"])
def test_no_member_moves_replaces_or_deletes_what_another_put_there(
    root: Path, alice: Other, mallory: Other, room: str
) -> None:
    alice.do(write, root / room / "hers")
    mallory.do(write, root / room / "his")
    mallory.do(fails, errno.EPERM, os.unlink, root / room / "hers")
    mallory.do(fails, errno.EPERM, Path.rename, root / room / "hers", root / room / "gone")
    mallory.do(fails, errno.EPERM, Path.rename, root / room / "his", root / room / "hers")
    mallory.do(fails, errno.EACCES, os.open, root / room / "hers", os.O_WRONLY)
    assert (root / room / "hers").read_bytes() == CONTENT


def fails(code: int, function: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(OSError, match=os.strerror(code)):
        function(*arguments)


@needs_root
def test_a_spool_whose_inbox_is_not_sticky_yet_gets_the_bit_at_the_next_start(root: Path) -> None:
    for room in ("inbox", "control"):
        (root / room).chmod(0o2770)
    with opened(root):
        assert [(root / room).stat().st_mode & 0o7777 for room in ("inbox", "control")] == [0o3770] * 2


@needs_root
def test_no_member_keeps_the_daemon_from_starting_by_what_he_does_to_its_probe(
    root: Path, mallory: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "inbox").chmod(0o2770)
    rename = os.rename  # noqa: TID251  # the one that the spool uses, replaced below

    def rename_and_be_robbed(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if (root / "inbox" / target).exists():
            mallory.do(os.rmdir, root / "inbox" / target)

    monkeypatch.setattr(os, "rename", rename_and_be_robbed)
    monkeypatch.setattr(os, "fchmod", refused_by_the_sandbox)
    with opened(root) as spool:
        assert list(spool.sweep()) == []


_chmod = os.fchmod


def refused_by_the_sandbox(fd: int, mode: int) -> None:
    """RestrictSUIDSGID= of the unit."""
    if mode & (stat.S_ISUID | stat.S_ISGID):
        raise PermissionError(errno.EPERM, "Operation not permitted")
    _chmod(fd, mode)
