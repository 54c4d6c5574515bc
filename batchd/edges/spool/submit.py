"""Handing in a batch file, for the command line: the one safe way from outside.

SUMMARY
    Both files are written whole under hidden names, synced, then renamed: the options first, so that the
    batch never lies there without them. No name in the inbox is ever overwritten; a taken one gets a counter.

DIAGNOSTICS
    Fatal: UsageError for a file that cannot be read or that changed meanwhile, ConfigError where there is no
    spool, SpoolError when the inbox cannot be written.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from batchd.core.json import dumps
from batchd.core.settle import options_name
from batchd.edges.spool import disk
from batchd.edges.spool.trouble import as_spool_error
from batchd.errors import ConfigError, SpoolError, UsageError

#: Names tried before we give up: an inbox with so many files of one name is not being emptied.
_NAMES_MAX = 1000

#: NAME_MAX (255) less `.options.json` and a counter.
_STEM_BYTES_MAX = 230


class HandedIn(NamedTuple):
    """The name that a file got in the inbox, and the SHA-256 (hex) of what was handed in."""

    name: str
    sha256: str


def submit_file(
    root: Path, source: Path, name: str, options: Mapping[str, object] | None, sha256: str | None = None
) -> HandedIn:
    """Copy `source` into the inbox of the spool at `root`.

    With `sha256`, nothing is handed in unless the copy has this hash.
    """
    try:
        file = source.open("rb")
    except OSError as error:
        raise UsageError(
            f"{str(source)!a} cannot be read: {error.strerror}.", "Give the path of a batch file."
        ) from error
    with file, _opened_inbox(root) as inbox:
        try:
            return _handed_in(inbox, file, name, options, sha256)
        except OSError as error:
            raise as_spool_error("a file was handed in", error, inbox) from error


@contextlib.contextmanager
def _opened_inbox(root: Path) -> Iterator[int]:
    try:
        fd = os.open(root / "inbox", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"There is no inbox in {str(root)!a}: {error.strerror}.",
            "Start `batchd daemon`, or name its spool with --spool.",
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _handed_in(
    inbox: int, file: BinaryIO, name: str, options: Mapping[str, object] | None, sha256: str | None
) -> HandedIn:
    chance, mode = secrets.token_hex(8), _mode(inbox)
    hidden = (f".submit-{chance}.options", f".submit-{chance}.batch")
    try:
        if options is not None:
            with _created(hidden[0], inbox, mode) as target:
                target.write(dumps(options))
        with _created(hidden[1], inbox, mode) as target:
            digest = _copied(file, target)
        if sha256 not in (None, digest):
            raise UsageError(
                f"{str(file.name)!a} changed while it was handed in; nothing was handed in.",
                "Give the command again when nobody writes the file any more.",
            )
        for candidate in _candidates(name):
            if _renamed(inbox, hidden, candidate, options is not None):
                os.fsync(inbox)
                return HandedIn(os.fsdecode(candidate), digest)
    finally:
        for left in hidden:
            disk.remove_file(left, inbox)
    raise SpoolError(
        f"The inbox holds {_NAMES_MAX} files of this name already.", "Is batchd running? See `batchd status`."
    )


def _mode(inbox: int) -> int:
    """batchd may be another user, and reads as a member of the group; in a spool of one's own it is not."""
    root = os.stat("..", dir_fd=inbox)
    is_own = root.st_uid == os.geteuid() and not root.st_mode & 0o077
    return 0o600 if is_own else 0o640


def _copied(file: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _created(name: str, inbox: int, mode: int) -> Iterator[BinaryIO]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, mode, dir_fd=inbox), "wb") as target:
        disk.grant(target.fileno(), mode)
        yield target
        target.flush()
        os.fsync(target.fileno())


def _candidates(name: str) -> Iterator[bytes]:
    stem = os.fsencode(name).removesuffix(b".jsonl").lstrip(b".").replace(b"/", b"_")[:_STEM_BYTES_MAX]
    for counter in range(_NAMES_MAX):
        yield (stem or b"batch") + (b"-%d.jsonl" % counter if counter else b".jsonl")


def _renamed(inbox: int, hidden: tuple[str, str], name: bytes, has_options: bool) -> bool:
    """Take this name for both files, or for neither."""
    options = options_name(name)
    if not has_options and disk.has_name(options, inbox):
        return False  # somebody else's options would be taken for ours
    try:
        if has_options:
            disk.rename_new(hidden[0], inbox, options, inbox)
    except FileExistsError:
        return False
    try:
        disk.rename_new(hidden[1], inbox, name, inbox)
    except FileExistsError:
        if has_options:
            disk.rename_new(options, inbox, hidden[0], inbox)
        return False
    return True
