"""Damaged journals, put aside: evidence, and what recovery salvages answers from.

SUMMARY
    processing/<id>/journal becomes journal.damaged-1 (or -2 and so on) beside our copy of the input, which
    stays as it is while one is there: what is salvaged belongs to the lines of that copy. With the original
    they go into the archive, under a hidden name, and are deleted with it; never before.

DIAGNOSTICS
    Fatal: OSError, which the spool translates.
"""

import hashlib
import os
import re
from dataclasses import dataclass

from batchd import failpoints
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.edges.spool.processing import checked_id

_NAME = re.compile(r"journal\.damaged-\d+")


@dataclass(frozen=True, slots=True)
class Aside:
    """What was put aside, by batch."""

    layout: Layout

    def put(self, batch_id: str) -> None:
        """The journal gets a name of its own; publish/, which was made from it, goes first."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            failpoints.reach("aside.begun")
            disk.remove_tree("publish", place)
            os.fsync(place)
            failpoints.reach("aside.publish_removed")
            disk.rename_new("journal", place, _free_name(place), place)
            os.fsync(place)
        failpoints.reach("aside.done")

    def names(self, batch_id: str) -> list[str]:
        """The directories in processing/<id>, oldest first."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            return _names(place)

    def kept_copy(self, batch_id: str) -> tuple[str, int] | None:
        """Digest and size of our copy, where it must stay as it is; None where there is none to keep."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            if not _names(place) or not disk.has_name("input.jsonl", place):
                return None
            fd = os.open("input.jsonl", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        with os.fdopen(fd, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(fd).st_size

    def into_original(self, batch_id: str) -> None:
        """Before orig/ goes into the archive. May be repeated."""
        with disk.opened_directory(checked_id(batch_id), self.layout.processing) as place:
            names = _names(place)
            if not names or not disk.has_name("orig", place):
                return
            with disk.opened_directory("orig", place) as orig:
                for name in names:
                    # No submitter's file begins with a dot, so that it is never taken for the batch file.
                    disk.rename_new(name, place, f".{name}", orig)
                os.fsync(orig)
            os.fsync(place)


def _names(place: int) -> list[str]:
    names = (name for name in os.listdir(place) if _NAME.fullmatch(name))
    return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


def _free_name(place: int) -> str:
    newest = max((int(name.rpartition("-")[2]) for name in _names(place)), default=0)
    return f"journal.damaged-{newest + 1}"
