"""The lock of a graphics card: one batchd at a time decides what is loaded into it.

SUMMARY
    hold       the locks of these cards, or of the machine where no card can be seen, until `close`
    holders    who holds which, without taking any

    One file for each card, by its UUID, in the first of some directories; flock, so a death releases it. Who
    sees the cards holds theirs, and the machine's together with others; who sees none (a sandbox hides them,
    or there are none) holds the machine alone. So two that see different things meet nevertheless.

    In the other directories it is looked, without opening a file, whether somebody holds what we need. What
    is held where strangers cannot write (the service's own directory) is believed. What is held where anybody
    can is said and no more (`CardLock.beside`): else any user could keep the service from starting.

    Who holds a lock is what the kernel says. What stands in the file is read only if the file is our user's,
    and nobody else may write it.

DIAGNOSTICS
    Fatal: UnavailableError when another holds one, or when a stranger made something there that is no lock;
    ConfigError for a directory in which no file can be made.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from batchd.core.flocks import Flock, flocks_of, lock_id
from batchd.core.text import printable
from batchd.errors import BatchdError, ConfigError, UnavailableError

#: The name where no card is seen.
MACHINE = "machine"

_PREFIX, _SUFFIX = "batchd-", ".lock"

#: Process and spool; a path has at most 4,096 bytes.
_NOTE_BYTES_MAX = 5_000

#: Anybody may make files in a shared directory, and locks anywhere: some 200,000 locks, and more cards than
#: a machine has.
_LOCKS_CHARS_MAX = 16 << 20
_FILES_MAX = 256

#: How often a file is looked for and made anew, if its name comes and goes under our eyes.
_TRIES = 8

#: The directory is not where, or not what it must be. Anything else passes: a full disk, too many files.
_MISPLACED = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP)

_KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe"}

_SHARE = "set share_card (BATCHD_SHARE_CARD=true)"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a card. 0 and empty: not known."""

    card: str
    pid: int
    spool: str
    user: str

    def words(self) -> str:
        """`process 4711, spool /var/spool/batchd, user batchd`."""
        spool = f", spool {self.spool}" if self.spool else ""
        return f"process {self.pid or 'unknown'}{spool}, user {self.user or 'unknown'}"


class CardLock:
    """Locks that are held until `close`, or until the process ends.

    `beside`: who holds the same in a directory that anybody may write, and may be a batchd or not.
    """

    def __init__(self, names: Sequence[str], undo: contextlib.ExitStack, beside: Sequence[Holder]) -> None:
        self.names = tuple(names)
        self.beside = tuple(beside)
        self._undo = undo

    def __repr__(self) -> str:
        return f"CardLock({', '.join(self.names)})"

    def close(self) -> None:
        self._undo.close()


def hold(directories: Sequence[Path], cards: Sequence[str], spool: Path) -> CardLock:
    """The locks of these cards; none: of the machine. They lie in the first directory."""
    (own, *others), wanted = directories, sorted(set(cards))
    with contextlib.ExitStack() as undo:
        _take(undo, own, MACHINE, is_shared=bool(wanted), spool=spool)
        for card in wanted:
            _take(undo, own, card, is_shared=False, spool=spool)
        # Looked at after ours is taken: of two that come at one moment, one at least sees the other.
        beside = [holder for directory in others for holder in _in_the_way(directory, wanted)]
        return CardLock(wanted or [MACHINE], undo.pop_all(), beside)


def holders(directories: Sequence[Path]) -> list[Holder]:
    """Whose locks are held now, by those that we may see."""
    seen = [item for directory in directories for item in _held(_lock_files(directory))]
    return [_holder(item) for item in sorted(seen, key=lambda item: item.card)]


@contextlib.contextmanager
def held(lock: CardLock | None) -> Iterator[None]:
    """For as long as the block lasts."""
    try:
        yield
    finally:
        if lock is not None:
            lock.close()


@dataclass(frozen=True, slots=True)
class _Held:
    """A lock file that somebody holds. It was looked at, and not opened."""

    path: Path
    found: os.stat_result
    flocks: Sequence[Flock]

    @property
    def card(self) -> str:
        return printable(self.path.name[len(_PREFIX) : -len(_SUFFIX)])

    @property
    def is_shared(self) -> bool:
        return not any(flock.is_exclusive for flock in self.flocks)


def _in_the_way(directory: Path, cards: Sequence[str]) -> list[Holder]:
    """Who has there what we need; UnavailableError where that can be no stranger."""
    seen = _held([_file(directory, name) for name in (MACHINE, *cards)])
    # Who sees cards shares the machine with others who do.
    against = [item for item in seen if not (cards and item.card == MACHINE and item.is_shared)]
    with contextlib.suppress(OSError):  # gone with its service
        if against and not _is_open_to_others(directory):
            raise _in_other_hands(_holder(against[0]))
    return [_holder(item) for item in against]


def _lock_files(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = (entry.name for entry in entries)
            ours = (name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
            return [directory / name for name in sorted(islice(ours, _FILES_MAX))]
    except OSError:
        return []


def _held(paths: Iterable[Path]) -> list[_Held]:
    """Those of them that are locked."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        known = {}
        for path in paths:
            with contextlib.suppress(OSError):
                known.update(_identified(path, mountinfo))
        with Path("/proc/locks").open(encoding="ascii", errors="replace") as file:
            locks = flocks_of(known, file.read(_LOCKS_CHARS_MAX)) if known else {}
    except OSError:
        return []
    return [_Held(*known[name], flocks) for name, flocks in locks.items()]


def _identified(path: Path, mountinfo: str) -> dict[str, tuple[Path, os.stat_result]]:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        fdinfo = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    finally:
        os.close(fd)
    return {lock_id(mountinfo, fdinfo, found.st_ino): (path, found)} if stat.S_ISREG(found.st_mode) else {}


def _holder(seen: _Held) -> Holder:
    pid, user = seen.flocks[0].pid, ""
    noted, spool = _note(seen)
    with contextlib.suppress(OSError):
        user = _user(Path(f"/proc/{pid}").stat().st_uid)
    return Holder(seen.card, pid, spool if noted == str(pid) else "", user)


def _quietly(path: str, flags: int) -> int:
    """Whatever has the name by now: no wait, and no step aside."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _note(seen: _Held) -> tuple[str, str]:
    """Process and spool as the holder wrote them, where only our own user can have written."""
    text = ""
    if seen.found.st_uid != os.geteuid() or seen.found.st_mode & 0o022:
        return "", ""
    with contextlib.suppress(OSError), open(seen.path, "rb", opener=_quietly) as file:
        if os.path.samestat(os.fstat(file.fileno()), seen.found):
            text = file.read(_NOTE_BYTES_MAX).decode("utf-8", "replace")
    pid, spool = (*text.split("\n"), "", "")[:2]
    return pid, printable(spool)


def _is_open_to_others(directory: Path) -> bool:
    """Whether others than its owner may make files there."""
    return bool(directory.stat().st_mode & 0o022)


def _take(undo: contextlib.ExitStack, directory: Path, card: str, is_shared: bool, spool: Path) -> None:
    path = _file(directory, card)
    try:
        fd = _opened(path)
    except OSError as error:
        raise _unfit(path, error) from error
    undo.callback(os.close, fd)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = next((_holder(item) for item in _held([path])), Holder(card, 0, "", ""))
        raise _in_other_hands(holder) from None
    except OSError as error:
        raise _unfit(path, error) from error
    found = os.fstat(fd)
    # A second name may be that of another file of ours, which a stranger linked here.
    if found.st_uid != os.geteuid() or found.st_nlink != 1:
        return
    with contextlib.suppress(OSError):  # the lock is held, and the note only a courtesy
        # Others must open it to lock it, where they lock there at all.
        os.fchmod(fd, 0o644 if _is_open_to_others(directory) else 0o600)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n{spool}\n".encode(errors="surrogateescape"), 0)


def _file(directory: Path, card: str) -> Path:
    return directory / f"{_PREFIX}{card.replace('/', '_')}{_SUFFIX}"


def _opened(path: Path) -> int:
    """Made, or as it stands: where all may write, the kernel refuses to 'make' the file of another."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            try:
                fd = os.open(path, os.O_RDWR | flags)
            except (PermissionError, IsADirectoryError):
                fd = os.open(path, os.O_RDONLY | flags)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
    raise OSError(errno.EAGAIN, "its name comes and goes")


def _in_other_hands(holder: Holder) -> UnavailableError:
    what = "The model servers of this machine are" if holder.card == MACHINE else f"The card {holder.card} is"
    return UnavailableError(
        f"{what} in the hands of another batchd ({holder.words()}).",
        f"Hand the file to that one with `batchd submit --wait FILE`, or {_SHARE} to work beside it: "
        "together they may ask for too much memory.",
    )


def _unfit(path: Path, error: OSError) -> BatchdError:
    """A name that somebody took concerns that somebody: no setting of ours is wrong."""
    shown = ascii(str(path))[1:-1]
    try:
        found = path.lstat()
    except OSError:
        if error.errno in _MISPLACED:
            return ConfigError(
                f"The lock of the card cannot be made in {str(path.parent)!a}: {error.strerror}.",
                "Set card_locks to a directory that all who use the card may write.",
            )
        why = f"{shown}: {error.strerror}"
    else:
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no plain file")
        is_file = stat.S_ISREG(found.st_mode)
        what = f"cannot be opened or locked ({error.strerror})" if is_file else f"is {kind}"
        why = f"{shown} {what}, and belongs to user {_user(found.st_uid)}"
    return UnavailableError(
        f"The lock of the card cannot be used: {why}.",
        f"Have it removed, set card_locks to a directory in which no other user can write, or {_SHARE}.",
    )


def _user(number: int) -> str:
    try:
        return printable(pwd.getpwuid(number).pw_name)
    except KeyError:
        return str(number)
