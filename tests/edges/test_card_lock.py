"""The lock of a card: two never have it, who comes second hears who was first, no stranger is believed."""

import contextlib
import getpass
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.edges.card_lock import Holder, held, hold, holders
from batchd.errors import ConfigError, UnavailableError
from tests.house import ROOT

SPOOL = Path("/srv/spool of mine")

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user can only be played by root")

#: Holds the lock of a file until its standard input ends, as a user of another number if one is given.
STRANGER = """
import fcntl, os, signal, sys
path, user, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
if how == "held":
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.fchmod(fd, 0o666)
    os.write(fd, b"1\\n\\x1b[31mpay me\\nroot\\n")
    fcntl.flock(fd, fcntl.LOCK_EX)
elif how == "closed":
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
elif how == "leased":
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
elif how == "directory":
    os.mkdir(path)
elif how == "link":
    os.symlink("/etc/passwd", path)
elif how == "pipe":
    os.mkfifo(path)
print("done", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def stranger(path: Path, how: str, user: int = NOBODY) -> Iterator[int]:
    """Somebody did this to that name, and is still there; the process."""
    with subprocess.Popen(
        [sys.executable, "-c", STRANGER, str(path), str(user), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"done\n"
        try:
            yield other.pid
        finally:
            other.stdin.close()


@pytest.fixture
def common() -> Iterator[Path]:
    """A directory that everybody may pass; those of pytest are for one user."""
    with tempfile.TemporaryDirectory(prefix="batchd-users-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def shared(common: Path) -> Path:
    """As /run/lock."""
    path = common / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def private(common: Path) -> Path:
    """As systemd makes it for the service."""
    path = common / "private"
    path.mkdir(0o755)
    return path


def refused(*directories: Path, cards: tuple[str, ...] = ()) -> str:
    with pytest.raises(UnavailableError) as raised:
        hold(directories, cards, SPOOL)
    assert "BATCHD_SHARE_CARD" in raised.value.next_step
    assert raised.value.exit_code == 75
    return raised.value.message


def test_a_card_is_held_once_and_the_second_is_told_by_whom(tmp_path: Path) -> None:
    lock = hold([tmp_path], ["GPU-1"], SPOOL)
    said = refused(tmp_path, cards=("GPU-1",))
    assert said.startswith(f"The card GPU-1 is in the hands of another batchd (process {os.getpid()}, ")
    assert f"spool /srv/spool of mine, user {getpass.getuser()})" in said
    lock.close()
    again = hold([tmp_path], ["GPU-1"], SPOOL)
    assert repr(again) == "CardLock(GPU-1)"
    again.close()


def test_two_cards_of_one_machine_are_two_locks(tmp_path: Path) -> None:
    with held(hold([tmp_path], ["GPU-1"], SPOOL)), held(hold([tmp_path], ["GPU-2"], SPOOL)):
        assert "GPU-2" in refused(tmp_path, cards=("GPU-3", "GPU-2"))
        with held(hold([tmp_path], ["GPU-3"], SPOOL)):  # which the one that was refused had not kept
            assert [holder.card for holder in holders([tmp_path])] == ["GPU-1", "GPU-2", "GPU-3", "machine"]
    assert holders([tmp_path]) == []


def test_a_part_of_a_card_has_a_lock_too_whose_name_is_a_path(tmp_path: Path) -> None:
    with held(hold([tmp_path], ["MIG-GPU-1/7/0"], SPOOL)):
        refused(tmp_path, cards=("MIG-GPU-1/7/0",))


def test_who_sees_no_card_meets_who_sees_one(tmp_path: Path) -> None:
    """A sandbox hides the cards from the service; its neighbour on the command line sees them."""
    with held(hold([tmp_path], [], SPOOL)):
        assert refused(tmp_path, cards=("GPU-1",)).startswith("The model servers of this machine are in the")
        refused(tmp_path)
    with held(hold([tmp_path], ["GPU-1"], SPOOL)):
        refused(tmp_path)


def test_a_death_gives_the_lock_back(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from batchd.edges.card_lock import hold; "
        "lock = hold([Path(sys.argv[1])], [], Path('x')); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert f"process {other.pid}" in refused(tmp_path)
        assert [holder.pid for holder in holders([tmp_path])] == [other.pid]
        other.kill()
    hold([tmp_path], [], SPOOL).close()


def test_who_waits_in_a_directory_of_his_own_is_seen_from_all_others(shared: Path, private: Path) -> None:
    """The service locks where only it can; who comes later looks there too."""
    with held(hold([private, shared], ["GPU-1"], SPOOL)) as service:
        assert service is None
        assert f"process {os.getpid()}" in refused(shared, private, cards=("GPU-1",))
        refused(shared, private)
        with held(hold([shared, private], ["GPU-2"], SPOOL)):
            assert [holder.card for holder in holders([private, shared])].count("machine") == 2
    hold([shared, private / "gone"], ["GPU-1"], SPOOL).close()


def test_what_is_held_where_anybody_can_is_said_and_keeps_nobody_out(shared: Path, private: Path) -> None:
    with stranger(shared / "batchd-machine.lock", "held", user=0) as pid:
        lock = hold([private, shared], [], SPOOL)
        assert [holder.pid for holder in lock.beside] == [pid]
        assert "pay me" not in lock.beside[0].words()
        lock.close()
        assert f"process {pid}" in refused(shared, private)


@needs_root
@pytest.mark.parametrize("how", ["held", "closed", "leased", "directory", "link", "pipe"])
def test_no_user_keeps_the_service_from_starting_by_being_first(
    shared: Path, private: Path, how: str
) -> None:
    with stranger(shared / "batchd-machine.lock", how) as pid:
        lock = hold([private, shared], [], SPOOL)
        assert lock.beside == ((Holder("machine", pid, "", "nobody"),) if how == "held" else ())
        lock.close()


@needs_root
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("held", "are in the hands of another batchd .process [0-9]+, user nobody"),
        ("closed", "cannot be opened or locked .Permission denied., and belongs to user nobody"),
        ("leased", "cannot be opened or locked .*, and belongs to user nobody"),
        ("directory", "is a directory, and belongs to user nobody"),
        ("link", "is a link, and belongs to user nobody"),
        ("pipe", "is a pipe, and belongs to user nobody"),
    ],
)
def test_what_a_stranger_made_of_a_shared_lock_is_said_and_is_no_setting(
    shared: Path, how: str, words: str
) -> None:
    """Exit code 75: a start of tomorrow may succeed; with 78 systemd would never try again."""
    with stranger(shared / "batchd-machine.lock", how), somebody(1):
        with pytest.raises(UnavailableError, match=words) as raised:
            hold([shared], [], SPOOL)
        assert "pay me" not in str(raised.value)
        assert "\x1b" not in str(raised.value)
        assert holders([shared]) == [] or how == "held"


@needs_root
def test_a_strangers_file_that_is_free_is_locked_and_not_written(shared: Path) -> None:
    path = shared / "batchd-machine.lock"
    with stranger(path, "held"):
        pass
    before = path.read_bytes()
    with somebody(1), held(hold([shared], [], SPOOL)):
        assert path.read_bytes() == before
        assert "user daemon)" in refused(shared)


def test_a_second_name_of_our_own_file_is_not_written(shared: Path) -> None:
    """Where the kernel does not protect hard links, a stranger could aim at any file of ours."""
    letter = shared / "letter"
    letter.write_text("keep this")
    (shared / "batchd-machine.lock").hardlink_to(letter)
    hold([shared], [], SPOOL).close()
    assert letter.read_text() == "keep this"


@pytest.mark.parametrize(
    "note", [b"12x\n\x1b[31mred\xff\n", b"%d\n\x1b[31mred\xff\n" % os.getpid(), b"9" * 9000]
)
def test_a_note_that_others_could_have_written_is_not_shown(tmp_path: Path, note: bytes) -> None:
    with held(hold([tmp_path], [], SPOOL)):
        path = tmp_path / "batchd-machine.lock"
        path.write_bytes(note)
        path.chmod(0o666)
        assert f"(process {os.getpid()}, user " in refused(tmp_path)
        path.chmod(0o600)
        said = refused(tmp_path)
        assert f"process {os.getpid()}" in said
        assert "\x1b" not in said
        assert len(said) < 5_000
        (tmp_path / "batchd-GPU-9.lock").symlink_to("/etc/passwd")
        (tmp_path / "somebody.lock").touch()
        assert [holder.card for holder in holders([tmp_path])] == ["machine"]


def test_files_are_open_to_all_where_all_lock_and_to_nobody_where_only_one_does(
    shared: Path, private: Path
) -> None:
    """Who may read a file may lock it."""
    before = os.umask(0o077)
    try:
        for place in (shared, private):
            hold([place], [], SPOOL).close()
    finally:
        os.umask(before)
    assert (shared / "batchd-machine.lock").stat().st_mode & 0o777 == 0o644
    assert (private / "batchd-machine.lock").stat().st_mode & 0o777 == 0o600
    (shared / "batchd-machine.lock").chmod(0o444)
    hold([shared], [], SPOOL).close()


def test_a_directory_that_is_none_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lock of the card"):
        hold([tmp_path / "gone"], [], SPOOL)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="lock of the card"):
        hold([tmp_path / "file"], [], SPOOL)
    assert holders([tmp_path / "gone"]) == []
    assert Holder("machine", 0, "", "").words() == "process unknown, user unknown"


def test_as_many_files_as_somebody_likes_are_looked_at_in_part(shared: Path) -> None:
    for number in range(400):
        (shared / f"batchd-{number:03}.lock").touch()
    assert holders([shared]) == []


@contextlib.contextmanager
def somebody(user: int) -> Iterator[None]:
    """Without root's power to open everything."""
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
