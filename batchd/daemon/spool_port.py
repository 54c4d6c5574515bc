"""The port `Spool`: every directory and file of the spool, and the only renamer.

SUMMARY
    A batch is named by its id everywhere below `processing/`; `name` is the submitter's file name as bytes.

DIAGNOSTICS
    Fatal: every method raises SpoolError when the disk or the directory fails us.
    Warning: NotUsableError, InputChangedError and NoSpaceError, all SpoolErrors, concern one batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from batchd.core.lifecycle import Place
from batchd.core.settle import Seen
from batchd.core.waiting import Original


class Spool(Protocol):
    """The spool directory."""

    def sweep(self) -> Sequence[Seen]:
        """List the inbox from start to end: one `Seen` for each thing that is not a temporary name."""

    def has_writer(self, name: bytes) -> bool | None:
        """Whether somebody has the file open for writing; None where the kernel would not tell."""

    def peek_options(self, name: bytes) -> bytes | None:
        """The bytes of inbox/NAME.options.json (at most 1 MiB) while it still waits, else None."""

    def claim(self, name: bytes, batch_id: str) -> bool:
        """Rename inbox/NAME into processing/<id>/orig/. False when it has gone meanwhile.

        NotUsableError when it is no plain file by now, or may not be moved; it is in the inbox then.
        """

    def claim_options(self, name: bytes, batch_id: str) -> bool:
        """Rename NAME.options.json after its batch, if it is there, a file or a link, and of the same owner;
        whether it was.

        Only right after the claim: later ones belong to another file.
        """

    def read_options(self, name: bytes, batch_id: str) -> bytes | None:
        """The claimed options (at most 1 MiB), None without any. NotUsableError when they cannot be read."""

    def is_known(self, batch_id: str) -> bool:
        """Whether a batch of this id is in processing, in the outbox or in the archive."""

    def is_at_work(self, batch_id: str) -> bool:
        """Whether a batch of this id is in processing."""

    def original_name(self, batch_id: str) -> bytes | None:
        """The submitter's name of a claimed batch, None for an empty directory."""

    def original(self, batch_id: str) -> Original | None:
        """The claimed file as it lies there now; None for an empty directory."""

    def batch_bytes(self, batch_id: str) -> int:
        """What copy, journal and results of a batch at work take on the disk; 0 when it has gone."""

    def copy_nothing(self, batch_id: str) -> tuple[str, int]:
        """An empty input.jsonl, for a file that cannot be read as one; else as `copy_input`."""

    def copy_input(
        self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
    ) -> tuple[str, int]:
        """Copy orig/NAME to our own input.jsonl, durable. Returns its SHA-256 (hex) and its bytes.

        `on_block` sees each piece; when it returns False the copy is given up with NotUsableError. It sees
        nothing of a copy that is kept for a damaged journal.

        Raises InputChangedError when the original changed while it was read, NoSpaceError for a full disk;
        the copy is gone then.
        """

    def open_input(self, batch_id: str) -> BinaryIO:
        """Our own copy, for reading."""

    def journal_path(self, batch_id: str) -> str:
        """Where the journal of this batch lives."""

    def put_journal_aside(self, batch_id: str) -> None:
        """Keep a damaged journal under another name, and our copy with it; publish/ is deleted."""

    def journals_aside(self, batch_id: str) -> Sequence[str]:
        """Where the damaged journals of this batch lie."""

    def reset_intake(self, batch_id: str) -> None:
        """Delete copy and journal, so that intake begins again from orig/."""

    def append_partial(self, batch_id: str, lines: bytes) -> None:
        """Append answers to partial/<id>.jsonl. Not synced: the journal is the truth."""

    def begin_publish(self, batch_id: str) -> None:
        """Make an empty publish/, deleting one that a crash left."""

    def drop_publish(self, batch_id: str) -> None:
        """Delete publish/ before it is sealed: its room is needed. Done already is fine."""

    def create_result(self, batch_id: str, name: str) -> BinaryIO:
        """A new file in publish/, for writing; the caller closes it."""

    def seal_publish(self, batch_id: str) -> str:
        """Sync publish/ and all in it; the SHA-256 (hex) over the names and hashes of its files."""

    def publish(self, batch_id: str, final_name: str) -> str:
        """Rename publish/ to outbox/<final_name>, sync both; the path of it.

        Nothing is overwritten; an empty directory, which a collector left, makes room. Done already is fine.
        """

    def archive(self, batch_id: str) -> None:
        """Move orig/ into the archive; done already is fine."""

    def discard(self, batch_id: str) -> None:
        """Rename processing/<id> to a trash name: the batch's end. Done already is fine."""

    def empty_trash(self, batch_id: str) -> None:
        """Delete what `discard` renamed, and the batch's partial file. Nothing in there may be open."""

    def places(self) -> Mapping[str, Place]:
        """What stands in processing/, by batch id, for recovery. Trash is deleted on the way."""

    def result_path(self, batch_id: str) -> str | None:
        """The outbox directory of a published batch while it is there, with batch.json in it."""

    def remains_path(self, batch_id: str) -> str | None:
        """An outbox directory of this batch with something in it and no batch.json: half collected."""

    def free_bytes(self) -> int:
        """Free space under the spool."""

    def free_files(self) -> int | None:
        """Files that may still be made there; None where the file system does not count them."""

    def disk_files(self) -> int:
        """How many it can hold in all; 0 where it does not count them."""

    def disk_bytes(self) -> int:
        """The size of the file system under the spool; 0 where it does not say."""

    def expire_archive(
        self, older_than_s: float, now: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> int:
        """Delete archived originals older than this; how many. What cannot be deleted is said and stays.
        `is_wanted` is asked before each of them."""

    def remove_litter(self, now: float) -> int:
        """Delete what submitters of ours left unfinished in the inbox more than a day and a half ago."""

    def turns(self) -> bytes:
        """What `keep_turns` kept last; empty where there is nothing that can be read."""

    def keep_turns(self, content: bytes) -> None:
        """Who was served, for after a restart. Not synced: a lost one costs somebody a turn."""

    def write_status(self, content: bytes) -> None:
        """Replace status.json whole."""

    def control_at(self, batch_id: str, verb: str) -> float | None:
        """When control/<id>.<verb> was put there, in seconds since the epoch; None without it."""

    def remove_control(self, batch_id: str, verb: str) -> bool:
        """Delete it; False when there is none."""

    def controls(self, now: float) -> Sequence[tuple[str, str, float]]:
        """(batch id, verb, age in seconds) of some of the control files, oldest first."""
