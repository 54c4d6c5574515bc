"""The inbox: what lies there, who writes it, and what its owner wants of it.

SUMMARY
    Anybody who may submit may write anything here: links, FIFOs, directories, names of any bytes. A sweep
    only looks; names that other programs use while they copy are not even listed. What can never be claimed
    stays where it is, with a reason and a next step for its owner. What a sweep saw may be something else a
    moment later; `claim` looks again.

    An inbox that was removed is an empty one until somebody makes it again; then that one is used.

DIAGNOSTICS
    Fatal: OSError, which the spool translates.
    Warning: an inbox that was removed or made anew, once for each kind of trouble.
"""

import contextlib
import errno
import os
import re
import stat
from bisect import insort
from dataclasses import dataclass, field

from loguru import logger

from batchd.core.settle import Kind, Seen, Signature, options_name
from batchd.edges.spool import disk
from batchd.edges.spool.claim import NAME_BYTES_MAX
from batchd.edges.spool.layout import Layout
from batchd.errors import BatchdError, NotUsableError

#: Names under which others still copy: rsync and editors (leading dot), browsers, WinSCP, editors' backups.
_UNFINISHED_SUFFIXES = (b".part", b".partial", b".filepart", b".tmp", b".swp", b"~")

_PACKED_SUFFIXES = (b".gz", b".zip", b".xz", b".bz2", b".zst", b".7z", b".tar", b".tgz")

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: An options file has a handful of keys; `metadata` is at most 16 short pairs.
OPTIONS_BYTES_MAX = 2**20


#: Batch files of one owner that a sweep looks at: the rest is looked at when these are claimed. Many times
#: what is claimed at a time, and 400 bytes of memory each.
BATCHES_LISTED_MAX = 2_048

#: Owners: members of the submit group are few.
OWNERS_MAX = 256

#: Names of anything else; the status shows half as many.
OTHERS_LISTED_MAX = 2_048

#: What opening a link, an unreadable file, a socket, or a file that its owner holds answers.
_SUBMITTERS_FAULT = frozenset(
    {errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EAGAIN, errno.ENODEV}
)

#: In place of a name: a slash stands in none.
NOT_LISTED = b"(and/more)"

#: What `batchd submit` and the probe at the start leave when they are killed, and what a claim gave back
#: under another name; and how long it may be somebody's work: no copy into an inbox takes a day and a half.
_LITTER = re.compile(r"\.(submit-[0-9a-f]{16}\.(options|batch)|(probe|returned)-[0-9a-f]{16})")
LITTER_AGE_S = 36 * 3_600.0


class _First:
    """The first so many names, in their order: the same ones in each sweep, as long as they are there."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.names: list[bytes] = []

    def add(self, name: bytes) -> None:
        if len(self.names) < self._most or name < self.names[-1]:
            insort(self.names, name)
            del self.names[self._most :]


@dataclass(frozen=True, slots=True)
class Inbox:
    """Sweeps and claims."""

    layout: Layout
    _said: set[str] = field(default_factory=set)

    def sweep(self) -> list[Seen]:
        """One `Seen` for each name, in the order of names; of very many only the first of each owner."""
        if not self._is_there():
            return []
        batches, others, unlisted = self._first_names()
        # The options of each batch that is listed, whatever is left out of the others.
        beside = {name for name in map(options_name, batches) if len(name) <= NAME_BYTES_MAX}
        names = sorted({*batches, *others, *beside})
        seen = [item for item in map(self._seen, names) if item is not None]
        return [*([_not_listed(unlisted, len(others))] if unlisted else []), *seen]

    def _first_names(self) -> tuple[list[bytes], list[bytes], int]:
        """Names of batch files; of anything else; and how many of these there are besides.

        Anybody may make a million of either: only so many are held, whatever lies here.
        """
        batches: dict[int, _First] = {}
        others, count = _First(OTHERS_LISTED_MAX), 0
        with os.scandir(self.layout.inbox) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if _is_unfinished(name):
                    continue
                if not name.endswith(b".jsonl"):
                    count += 1
                    others.add(name)
                elif (uid := _owner(entry)) in batches or len(batches) < OWNERS_MAX:
                    batches.setdefault(uid, _First(BATCHES_LISTED_MAX)).add(name)
        found = [name for first in batches.values() for name in first.names]
        return found, others.names, count - len(others.names)

    def has_writer(self, name: bytes) -> bool | None:
        """None where the file has gone, or the kernel would not tell."""
        try:
            fd = os.open(name, _READ, dir_fd=self.layout.inbox)
        except BlockingIOError:
            return True  # another program holds a lease of its own on it
        except OSError:
            return None
        try:
            return disk.has_writer(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def peek_options(self, name: bytes) -> bytes | None:
        """None as well where they are unusable: the claim will say so."""
        try:
            owner = disk.owner_of(name, self.layout.inbox)
            return _options(options_name(name), self.layout.inbox, owner)
        except NotUsableError:
            return None

    def read_options(self, name: bytes, batch_id: str) -> bytes | None:
        """What was claimed."""
        with (
            disk.opened_directory(batch_id, self.layout.processing) as place,
            disk.opened_directory("orig", place) as orig,
        ):
            return _options(options_name(name), orig, disk.owner_of(name, orig))

    def remove_litter(self, now: float) -> int:
        """Only names of our own making, and only by the change time, which nobody can set back."""
        with os.scandir(self.layout.inbox) as entries:
            names = [entry.name for entry in entries if _LITTER.fullmatch(entry.name)]
        return sum(self._removed_litter(name, now) for name in names)

    def _removed_litter(self, name: str, now: float) -> bool:
        with contextlib.suppress(OSError):  # another tidies up too, or made it something else
            found = os.stat(name, dir_fd=self.layout.inbox, follow_symlinks=False)
            if now - found.st_ctime > LITTER_AGE_S:
                remove = os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink
                remove(name, dir_fd=self.layout.inbox)
                return True
        return False

    def _is_there(self) -> bool:
        """Whether we hold the directory that submitters see under its name; a new one is taken on."""
        try:
            if self.layout.is_inbox_ours():
                self._said.clear()
                return True
            self.layout.renew_inbox()
        except FileNotFoundError:
            self._say_once("it is gone; make the directory again, or start batchd again, which makes it")
            return False
        except (OSError, BatchdError) as error:
            self._say_once(f"what stands in its place cannot be used: {error}")
            return False
        logger.bind(event="inbox_replaced").warning(
            "the inbox was removed or replaced while batchd ran; the new one is used"
        )
        return True

    def _say_once(self, trouble: str) -> None:
        if trouble not in self._said:
            self._said.add(trouble)
            logger.bind(event="inbox_gone").warning("the inbox: {}", trouble)

    def _seen(self, name: bytes) -> Seen | None:
        try:
            found = os.stat(name, dir_fd=self.layout.inbox, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in disk.NOT_SHOWN:
                raise
            reason = f"batchd may not look at it ({error.strerror}): take it away"
            return Seen(name, Kind.UNCLAIMABLE, (0, 0, 0, 0, 0), reason, -1)
        kind, reason = self._kind(name, found)
        return Seen(name, kind, _signature(found), reason, found.st_uid)

    def _kind(self, name: bytes, found: os.stat_result) -> tuple[Kind, str]:
        kind = Kind.OPTIONS if name.endswith(b".options.json") else Kind.BATCH
        reason = _odd_type(found.st_mode)
        if not reason and kind is Kind.BATCH and not name.endswith(b".jsonl"):
            reason = _unnamed(name)
        elif not reason and found.st_nlink > 1:
            reason = "it has a second name (hard link): hand in a copy instead (cp)"
        elif not reason and not self._is_readable(name):
            reason = "batchd may not read it: chmod g+r (with rsync: --chmod=F640)"
        return (Kind.UNCLAIMABLE, reason) if reason else (kind, "")

    def _is_readable(self, name: bytes) -> bool:
        try:
            os.close(os.open(name, _READ, dir_fd=self.layout.inbox))
        except PermissionError:
            return False
        except OSError:
            return True  # gone, or busy: the next sweep or the claim will see
        return True


def _is_unfinished(name: bytes) -> bool:
    return name.startswith(b".") or name.endswith(_UNFINISHED_SUFFIXES)


def _owner(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except OSError:
        return -1  # gone, or hidden: whoever looks more closely will say so


def _not_listed(count: int, listed: int) -> Seen:
    """Stands for them all, under a name that no file can have."""
    reason = f"{count:,} more names that are no batch files are not listed, beside {listed:,}: take them away"
    return Seen(NOT_LISTED, Kind.UNCLAIMABLE, (0, 0, 0, 0, 0), reason, -1)


def _signature(found: os.stat_result) -> Signature:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _unnamed(name: bytes) -> str:
    if name.endswith(_PACKED_SUFFIXES):
        return "it is packed, by its name: unpack it (gunzip, unzip) and hand in the .jsonl"
    return "its name does not end with .jsonl: rename it if it is a batch file, else take it away"


def _odd_type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISLNK(mode):
        return "it is a link: hand in the file itself (cp -L)"
    if stat.S_ISDIR(mode):
        return "it is a directory: move the files in it into the inbox"
    return "it is not a plain file but a pipe, socket or device: take it away"


def _options(name: bytes, directory: int, owner: int | None) -> bytes | None:
    """None as well for those of another user than `owner`: the claim says so and leaves them."""
    if len(name) > NAME_BYTES_MAX or disk.owner_of(name, directory) != owner:
        return None
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _SUBMITTERS_FAULT:
            raise  # the disk's: without its options the batch would be another one
        raise NotUsableError(
            f"The options file cannot be read: {error.strerror}.",
            "Hand in a plain file that batchd may read.",
        ) from error
    found = os.fstat(fd)
    if found.st_uid != owner:
        os.close(fd)
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(fd)  # a directory cannot even be wrapped as a file
        raise NotUsableError("The options file is not a plain file of its own.", "Hand in a copy (cp).")
    with os.fdopen(fd, "rb") as file:
        content = file.read(OPTIONS_BYTES_MAX + 1)
    if len(content) > OPTIONS_BYTES_MAX:
        raise NotUsableError(f"The options file is larger than {OPTIONS_BYTES_MAX} bytes.", "Shorten it.")
    return content
