"""The lock of a spool: held by one, whoever that is, and kept from nobody by a stranger for good."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.edges.spool import Spool
from batchd.errors import UnavailableError

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user can only be played by root")


def refused(root: Path) -> str:
    with pytest.raises(UnavailableError) as raised:
        Spool.open(root)
    assert raised.value.exit_code == 75
    assert raised.value.next_step
    return raised.value.message


@pytest.fixture
def root() -> Iterator[Path]:
    """Where everybody may pass; the directories of pytest are for one user."""
    with tempfile.TemporaryDirectory(prefix="batchd-users-") as place:
        Path(place).chmod(0o755)
        path = Path(place) / "spool"
        Spool.open(path).close()
        yield path


def test_who_holds_it_is_what_the_kernel_says_and_not_what_the_file_says(root: Path) -> None:
    first = Spool.open(root)
    (root / "lock").write_bytes(b"\x1b[31m1\n")
    assert refused(root) == f"The spool {root} is held by another batchd (process {os.getpid()})."
    first.close()
    Spool.open(root).close()
    assert (root / "lock").read_bytes() == b"%d\n" % os.getpid()


def test_a_lock_that_the_group_could_read_is_closed_to_it(root: Path) -> None:
    (root / "lock").chmod(0o640)
    Spool.open(root).close()
    assert (root / "lock").stat().st_mode & 0o777 == 0o600


@needs_root
def test_no_member_of_the_group_locks_the_next_daemon_out(root: Path) -> None:
    """Reading is enough for a lock, so the file is not for reading."""
    root.chmod(0o2755)
    os.chown(root, 0, NOBODY)
    (root / "lock").unlink()
    Spool.open(root).close()
    with member(), pytest.raises(PermissionError):
        fcntl.flock(os.open(root / "lock", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    Spool.open(root).close()


@pytest.mark.parametrize("what", ["directory", "link", "pipe", "second name"])
def test_a_name_that_is_no_lock_is_said_and_is_no_setting(root: Path, what: str) -> None:
    lock, other = root / "lock", root / "other"
    lock.unlink()
    other.write_text("keep this")
    if what == "directory":
        lock.mkdir()
    elif what == "link":
        lock.symlink_to(other)
    elif what == "pipe":
        os.mkfifo(lock)
    else:
        lock.hardlink_to(other)
    assert f"{lock} is " in refused(root)
    assert f"user number {os.getuid()}" in refused(root)
    assert other.read_text() == "keep this"


@needs_root
def test_a_lock_of_another_user_is_said_and_is_no_setting(root: Path) -> None:
    """Who ran it once as root finds out why the service does not start, and systemd goes on trying."""
    for place in (root, *root.iterdir()):
        os.chown(place, NOBODY, NOBODY)
    os.chown(root / "lock", 0, 0)
    with member():
        assert f"{root}/lock is a file of user number 0, and cannot be used (Permission denied)" in refused(
            root
        )


@contextlib.contextmanager
def member() -> Iterator[None]:
    """Another user, in the group of the spool."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
