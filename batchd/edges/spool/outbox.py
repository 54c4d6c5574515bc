"""publish/, the outbox and the archive: how a finished batch leaves.

SUMMARY
    A result directory is built in processing/<id>/publish, synced file by file, and appears in the outbox by
    one rename that never overwrites. A collector may take it away at any moment after that, file by file.

DIAGNOSTICS
    Fatal: OSError, which the spool translates; SpoolError when the outbox has the name already.
    Warning: an original in the archive that cannot be deleted, once for each.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from loguru import logger

from batchd import failpoints
from batchd.core.options import is_batch_id
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.edges.spool.processing import checked_id
from batchd.errors import SpoolError

#: Result lines are a few KB; one write call for several hundred of them.
_BUFFER_BYTES = 2**20

#: With the id (38) and the dot it stays far below NAME_MAX (255) and fits one line of a terminal.
_STEM_CHARACTERS_MAX = 120

#: Originals kept of one id: a person who runs one batch again and again within the archive's days.
_ARCHIVED_MAX = 1_000

#: Names deleted in one call of one original: it is one file and its options, unless somebody has put a tree
#: there, and then the rest waits for the next hour.
_EXPIRED_ENTRIES_MAX = 100_000

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def final_name(original_name: bytes, batch_id: str) -> str:
    """The name of the result directory: what is harmless of the submitter's name, then the id."""
    stem = _UNSAFE.sub(b"_", original_name.removesuffix(b".jsonl"))[:_STEM_CHARACTERS_MAX].decode("ascii")
    if stem[:1] in {".", "-"}:  # hidden from a collector, or taken for an option by a shell's command
        stem = "_" + stem[1:]
    return f"{stem or 'batch'}.{batch_id}"


@dataclass(frozen=True, slots=True)
class Outbox:
    """Builds, seals, publishes; keeps originals for a while."""

    layout: Layout
    _warned: set[str] = field(default_factory=set)

    def begin_publish(self, batch_id: str) -> None:
        """An empty publish/."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            failpoints.reach("assembly.begun")
            disk.remove_tree("publish", place)
            failpoints.reach("assembly.emptied")
            os.mkdir("publish", self.layout.directory_mode, dir_fd=place)
            failpoints.reach("assembly.directory_made")
            with disk.opened_directory("publish", place) as publish:
                disk.grant(publish, self.layout.directory_mode)

    def drop_publish(self, batch_id: str) -> None:
        """Delete what was begun; done already is fine."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            disk.remove_tree("publish", place)

    def create_result(self, batch_id: str, name: str) -> BinaryIO:
        """A new file in publish/."""
        # The submit group, where there is one, reads it. The set-group bit is inherited, see `disk.grant`.
        mode = self.layout.file_mode
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._publish(batch_id) as (_, publish):
            fd = os.open(_plain(name), flags, mode, dir_fd=publish)
        disk.grant(fd, mode)
        failpoints.reach("assembly.file_made")
        return os.fdopen(fd, "wb", buffering=_BUFFER_BYTES)

    def seal_publish(self, batch_id: str) -> str:
        """A digest line for each file, in the order of names; the digest of those lines is the answer."""
        whole = hashlib.sha256()
        with self._publish(batch_id) as (place, publish):
            for name in sorted(os.listdir(publish)):
                with os.fdopen(os.open(name, _READ, dir_fd=publish), "rb") as file:
                    os.fsync(file.fileno())
                    failpoints.reach("seal.file_synced")
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                whole.update(f"{digest}  {name}\n".encode())
            os.fsync(publish)
            failpoints.reach("seal.directory_synced")
            os.fsync(place)
        failpoints.reach("seal.done")
        return whole.hexdigest()

    def publish(self, batch_id: str, name: str) -> str:
        """The rename that publishes, durable on both sides."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            # rsync --remove-source-files leaves the directory when it takes the files; an empty one holds
            # nothing that could be overwritten, and rmdir refuses any other.
            with contextlib.suppress(OSError):
                os.rmdir(_plain(name), dir_fd=self.layout.outbox)
            if disk.has_name("publish", place):  # else it was published already
                self._rename_published(name, place)
            failpoints.reach("publish.renamed")
            os.fsync(self.layout.outbox)
            failpoints.reach("publish.outbox_synced")
            os.fsync(place)
        failpoints.reach("publish.done")
        return os.fspath(self.layout.outbox_path / name)

    def _rename_published(self, name: str, place: int) -> None:
        try:
            failpoints.reach("publish.begun")
            disk.rename_new("publish", place, name, self.layout.outbox)
        except FileExistsError:
            raise SpoolError(
                f"The outbox has a {name} already, and batchd overwrites nothing.",
                "Move it away and start batchd again.",
            ) from None

    def result_path(self, batch_id: str) -> str | None:
        """Where the result lies, unless it was collected."""
        return next((self._path(name) for name in self._named(batch_id) if self._is_result(name)), None)

    def remains_path(self, batch_id: str) -> str | None:
        """What a collector has not finished with: its directory can neither be used nor replaced."""
        for name in self._named(batch_id):
            with (
                contextlib.suppress(FileNotFoundError),  # taken away meanwhile
                disk.opened_directory(name, self.layout.outbox) as place,
            ):
                if os.listdir(place) and not self._is_result(name):
                    return self._path(name)
        return None

    def has(self, batch_id: str) -> bool:
        """Whether a directory of this id is there, whatever it holds."""
        return bool(self._named(batch_id))

    def archive(self, batch_id: str) -> None:
        """orig/ becomes archive/<id>, or <id>.2 and so on: a batch that was collected may be run again."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            self._move_original(batch_id, place)
            if disk.has_name("orig", place):  # into a directory that was deleted nothing can be moved
                self.layout.renew_archive()
                self._move_original(batch_id, place)
            failpoints.reach("archive.renamed")
            os.fsync(self.layout.archive)
            failpoints.reach("archive.synced")
            os.fsync(place)

    def _move_original(self, batch_id: str, place: int) -> None:
        for name in (batch_id, *(f"{batch_id}.{count}" for count in range(2, _ARCHIVED_MAX))):
            with contextlib.suppress(FileNotFoundError):  # done already
                try:
                    failpoints.reach("archive.begun")
                    disk.rename_new("orig", place, name, self.layout.archive)
                except FileExistsError:
                    continue
            break

    def has_archived(self, batch_id: str) -> bool:
        """Whether the original of this id is kept."""
        return disk.has_name(checked_id(batch_id), self.layout.archive)

    def expire_archive(
        self, older_than_s: float, now: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> int:
        """The change time of a directory is the moment of its rename; nobody can set it back."""
        with os.scandir(self.layout.archive) as entries:
            names = [entry.name for entry in entries if is_batch_id(entry.name.split(".")[0])]
        return sum(is_wanted() and self._expire(name, older_than_s, now) for name in names)

    def _expire(self, name: str, older_than_s: float, now: float) -> bool:
        """One that cannot be deleted (a tree of another user's) does not keep the others."""
        try:
            changed_at = os.stat(name, dir_fd=self.layout.archive, follow_symlinks=False).st_ctime
            return now - changed_at > older_than_s and disk.remove_tree(
                name, self.layout.archive, _EXPIRED_ENTRIES_MAX
            )
        except FileNotFoundError:
            return False  # somebody else tidies up, too
        except OSError as error:
            if name not in self._warned:
                self._warned.add(name)
                logger.bind(event="archive_stays").warning(
                    "archive/{} cannot be deleted and stays: {}", name, error.strerror
                )
            return False

    def _named(self, batch_id: str) -> list[str]:
        suffix = f".{checked_id(batch_id)}"
        with os.scandir(self.layout.outbox) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(suffix) and entry.is_dir(follow_symlinks=False)
            )

    def _is_result(self, name: str) -> bool:
        return disk.has_name(f"{name}/batch.json", self.layout.outbox)

    def _path(self, name: str) -> str:
        return os.fspath(self.layout.outbox_path / name)

    @contextlib.contextmanager
    def _publish(self, batch_id: str) -> Iterator[tuple[int, int]]:
        with (
            disk.opened_directory(checked_id(batch_id), self.layout.processing) as place,
            disk.opened_directory("publish", place) as publish,
        ):
            yield place, publish


def _plain(name: str) -> str:
    if not name or name.startswith(".") or "/" in name:
        raise SpoolError(f"{name!a} cannot name a result.")
    return name
