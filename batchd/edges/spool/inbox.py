"""The inbox: what lies there, who writes it, and how it becomes ours.

SUMMARY
    Anybody who may submit may write anything here: links, FIFOs, directories, names of any bytes. A sweep
    only looks; names that other programs use while they copy are not even listed. What can never be claimed
    stays where it is, with a reason and a next step for its owner. A claim is one rename into a directory
    that only we can reach; checks of the content come after it.

DIAGNOSTICS
    Fatal: OSError, which the spool translates; SpoolError for a batch id that is taken.
"""

import contextlib
import os
import stat
from dataclasses import dataclass

from batchd.core.settle import Kind, Seen, Signature, options_name
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.errors import NotUsableError, SpoolError

#: Names under which others still copy: rsync and editors (leading dot), browsers, WinSCP, editors' backups.
_UNFINISHED_SUFFIXES = (b".part", b".partial", b".filepart", b".tmp", b".swp", b"~")

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: An options file has a handful of keys; `metadata` is at most 16 short pairs.
OPTIONS_BYTES_MAX = 2**20


#: NAME_MAX: no file can have a longer name, but the options of a file with a long name would.
_NAME_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class Inbox:
    """Sweeps and claims."""

    layout: Layout

    def sweep(self) -> list[Seen]:
        """One `Seen` for each name, in the order of names."""
        with os.scandir(self._listed()) as entries:
            names = sorted(os.fsencode(entry.name) for entry in entries)
        seen = (self._seen(name) for name in names if not _is_unfinished(name))
        return [item for item in seen if item is not None]

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
            return _options(options_name(name), self.layout.inbox)
        except NotUsableError:
            return None

    def claim(self, name: bytes, batch_id: str) -> bool:
        """Make processing/<id>/orig/ durable first, then rename: no batch is in a place not yet kept."""
        if name in {b"", b".", b".."} or b"/" in name:
            raise SpoolError(f"{name!a} is not a name in the inbox.")
        processing = self.layout.processing
        try:
            os.mkdir(batch_id, 0o750, dir_fd=processing)
        except FileExistsError:
            raise SpoolError(f"A batch with the id {batch_id} is in processing/ already.") from None
        with disk.opened_directory(batch_id, processing) as place:
            os.mkdir("orig", 0o750, dir_fd=place)
            os.fsync(place)
            os.fsync(processing)
            is_ours = False
            try:
                is_ours = self._moved(name, place)
            except PermissionError:
                # A directory that took the file's place since the sweep cannot be moved; that is no fault of
                # the spool's.
                if self._is_plain(name):
                    raise
            finally:
                if not is_ours:
                    os.rmdir("orig", dir_fd=place)
                    os.rmdir(batch_id, dir_fd=processing)
        return is_ours

    def claim_options(self, name: bytes, batch_id: str) -> bytes | None:
        """What was claimed once is read again; one that arrived after it stays in the inbox."""
        wanted = options_name(name)
        if len(wanted) > _NAME_BYTES_MAX:
            return None
        with disk.opened_directory(batch_id, self.layout.processing) as place:
            try:
                self._moved(wanted, place)
            except PermissionError:
                raise NotUsableError(
                    "The options file cannot be claimed.", "Hand in a plain file, not a directory."
                ) from None
            with disk.opened_directory("orig", place) as orig:
                return _options(wanted, orig)

    def _moved(self, name: bytes, place: int) -> bool:
        with disk.opened_directory("orig", place) as orig:
            try:
                disk.rename_new(name, self.layout.inbox, name, orig)
            except (FileNotFoundError, FileExistsError):
                return False
            os.fsync(orig)
        os.fsync(self.layout.inbox)
        return True

    def _is_plain(self, name: bytes) -> bool:
        try:
            found = os.stat(name, dir_fd=self.layout.inbox, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode)

    def _listed(self) -> int:
        """The inbox's descriptor, proven to be the directory that submitters see under its name."""
        held = os.fstat(self.layout.inbox)
        with contextlib.suppress(FileNotFoundError):
            named = os.stat("inbox", dir_fd=self.layout.root, follow_symlinks=False)
            if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
                return self.layout.inbox
        raise SpoolError(
            "The inbox was removed or replaced while batchd ran.", "Start batchd again; it makes a new one."
        )

    def _seen(self, name: bytes) -> Seen | None:
        try:
            found = os.stat(name, dir_fd=self.layout.inbox, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kind, reason = self._kind(name, found)
        return Seen(name, kind, _signature(found), reason)

    def _kind(self, name: bytes, found: os.stat_result) -> tuple[Kind, str]:
        kind = Kind.OPTIONS if name.endswith(b".options.json") else Kind.BATCH
        reason = _odd_type(found.st_mode)
        if not reason and kind is Kind.BATCH and not name.endswith(b".jsonl"):
            reason = "its name does not end with .jsonl: rename it if it is a batch file, else take it away"
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


def _signature(found: os.stat_result) -> Signature:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _odd_type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISLNK(mode):
        return "it is a link: hand in the file itself (cp -L)"
    if stat.S_ISDIR(mode):
        return "it is a directory: move the files in it into the inbox"
    return "it is not a plain file but a pipe, socket or device: take it away"


def _options(name: bytes, directory: int) -> bytes | None:
    if len(name) > _NAME_BYTES_MAX:
        return None
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotUsableError(
            f"The options file cannot be read: {error.strerror}.",
            "Hand in a plain file that batchd may read.",
        ) from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(fd)  # a directory cannot even be wrapped as a file
        raise NotUsableError("The options file is not a plain file of its own.", "Hand in a copy (cp).")
    with os.fdopen(fd, "rb") as file:
        content = file.read(OPTIONS_BYTES_MAX + 1)
    if len(content) > OPTIONS_BYTES_MAX:
        raise NotUsableError(f"The options file is larger than {OPTIONS_BYTES_MAX} bytes.", "Shorten it.")
    return content
