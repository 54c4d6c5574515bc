"""The lock of a graphics card: one batchd at a time decides what is loaded into it.

SUMMARY
    hold       the locks of these cards, or of the machine where no card can be seen, until `close`
    holders    who holds which, without taking any

    One file for each card, by its UUID, in a directory that all users share; flock, so a death releases it.
    Who sees the cards holds theirs, and the machine's together with others; who sees none (a sandbox hides
    them, or there are none) holds the machine alone. So two that see different things meet nevertheless.

    The files stay, and anybody may write them: what stands in one is shown to people, and believed by nobody.

DIAGNOSTICS
    Fatal: UnavailableError when another holds one, with its process, spool and user; ConfigError for a
    directory in which no file can be made.
"""

import contextlib
import fcntl
import getpass
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchd.core.text import printable
from batchd.errors import ConfigError, UnavailableError

#: The name where no card is seen.
MACHINE = "machine"

_PREFIX, _SUFFIX = "batchd-", ".lock"

#: Process, spool and user; a path has at most 4,096 bytes.
_NOTE_BYTES_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Holder:
    """A batchd that has a card, as it describes itself."""

    card: str
    pid: int
    spool: str
    user: str

    def words(self) -> str:
        """`process 4711, spool /var/spool/batchd, user batchd`."""
        return (
            f"process {self.pid or 'unknown'}, spool {self.spool or 'unknown'}, user {self.user or 'unknown'}"
        )


class CardLock:
    """Locks that are held until `close`, or until the process ends."""

    def __init__(self, names: Sequence[str], undo: contextlib.ExitStack) -> None:
        self.names = tuple(names)
        self._undo = undo

    def __repr__(self) -> str:
        return f"CardLock({', '.join(self.names)})"

    def close(self) -> None:
        self._undo.close()


def hold(directory: Path, cards: Sequence[str], spool: Path) -> CardLock:
    """The locks of these cards; none: of the machine."""
    with contextlib.ExitStack() as undo:
        try:
            _take(undo, directory, MACHINE, is_shared=bool(cards), spool=spool)
            for card in sorted(set(cards)):
                _take(undo, directory, card, is_shared=False, spool=spool)
        except OSError as error:
            raise ConfigError(
                f"The lock of the card cannot be made in {str(directory)!a}: {error.strerror}.",
                "Set card_locks to a directory that all who use the card may write.",
            ) from error
        return CardLock(sorted(set(cards)) or [MACHINE], undo.pop_all())


def holders(directory: Path) -> list[Holder]:
    """Whose locks are held now, by those that we may see."""
    try:
        names = sorted(path.name for path in directory.iterdir())
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    held = {fields[5].rpartition(":")[2] for line in locks.splitlines() if len(fields := line.split()) > 5}
    return [holder for name in names if (holder := _seen(directory, name, held)) is not None]


def _seen(directory: Path, name: str, held: set[str]) -> Holder | None:
    if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
        return None
    try:
        fd = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        is_held = stat.S_ISREG(found.st_mode) and str(found.st_ino) in held
        return _holder(name[len(_PREFIX) : -len(_SUFFIX)], fd) if is_held else None
    finally:
        os.close(fd)


def _take(undo: contextlib.ExitStack, directory: Path, card: str, is_shared: bool, spool: Path) -> None:
    fd = _opened(directory / f"{_PREFIX}{card}{_SUFFIX}")
    undo.callback(os.close, fd)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        what = "The model servers of this machine are" if card == MACHINE else f"The card {card} is"
        raise UnavailableError(
            f"{what} in the hands of another batchd ({_holder(card, fd).words()}).",
            "Hand the file to that one with `batchd submit --wait FILE`, or set share_card "
            "(BATCHD_SHARE_CARD=true) to work beside it: together they may ask for too much memory.",
        ) from None
    with contextlib.suppress(OSError):  # another user's file may be ours to lock and not to write
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n{spool}\n{_user()}\n".encode(errors="surrogateescape"), 0)


def _opened(path: Path) -> int:
    """Made, or as it stands: where all may write, the kernel refuses to 'make' the file of another."""
    for flags in (os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
        with contextlib.suppress(FileNotFoundError, PermissionError, FileExistsError):
            fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            if flags & os.O_CREAT:
                os.fchmod(fd, 0o666)  # whatever the umask is: other users lock it too
            return fd
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)  # the error that it was


def _holder(card: str, fd: int) -> Holder:
    words = os.pread(fd, _NOTE_BYTES_MAX, 0).decode("utf-8", "replace").split("\n")
    pid, spool, user = (*(printable(word) for word in words[:3]), *[""] * 3)[:3]
    return Holder(card, int(pid) if pid.isascii() and pid.isdecimal() else 0, spool, user)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


@contextlib.contextmanager
def held(lock: CardLock | None) -> Iterator[None]:
    """For as long as the block lasts."""
    try:
        yield
    finally:
        if lock is not None:
            lock.close()
