"""The spool: every directory and file of it, and the only renamer.

SUMMARY
    A file is in exactly one place, and its place is its state; each change is one rename that overwrites
    nothing and is synced before anybody relies on it. The rooms:

    layout      the directories: made, locked, probed      disk      rename, sync, delete
    lock        one daemon at a time                       outbox    build, publish, archive
    inbox       sweep, writers, options                    board     partial answers, status, controls
    claim       the rename, and a look at what it moved    submit    handing in, and
    processing  copies, recovery's places, trash           tell      controls, for the command line

    All methods block and are short, but for copy_input, seal_publish and discard, which want a thread. At
    most one thread at a time works on one batch; `append_partial` belongs to one thread for all.

DIAGNOSTICS
    Fatal: SpoolError when the disk or the directory fails us, with the next step.
    Warning: NotUsableError, InputChangedError and NoSpaceError (which are SpoolErrors) of a file that is
    taken in concern one batch; the daemon goes on.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from batchd import failpoints
from batchd.core.lifecycle import Place
from batchd.core.settle import Seen
from batchd.core.waiting import Original
from batchd.edges.spool import disk
from batchd.edges.spool.aside import Aside
from batchd.edges.spool.board import Board
from batchd.edges.spool.claim import Claims
from batchd.edges.spool.inbox import Inbox
from batchd.edges.spool.layout import Layout
from batchd.edges.spool.outbox import Outbox, final_name
from batchd.edges.spool.processing import INPUT_BYTES_MAX, Processing, checked_id
from batchd.edges.spool.submit import submit_file
from batchd.edges.spool.tell import tell
from batchd.edges.spool.trouble import nearest, translated, why

__all__ = ["Spool", "final_name", "nearest", "submit_file", "tell", "why"]


class Spool:
    """The port `Spool`, on a real disk."""

    def __init__(self, layout: Layout, input_bytes_max: int) -> None:
        self._layout = layout
        self._inbox = Inbox(layout)
        self._claims = Claims(layout)
        self._processing = Processing(layout, input_bytes_max)
        self._aside = Aside(layout)
        self._outbox = Outbox(layout)
        self._board = Board(layout)

    def __repr__(self) -> str:
        return f"Spool({os.fspath(self._layout.path)!a})"

    @classmethod
    def open(cls, root: Path, outbox: Path | None = None, input_bytes_max: int = INPUT_BYTES_MAX) -> "Spool":
        """Make what lacks and hold the spool until `close`. UnavailableError when another batchd holds it."""
        return cls(Layout.open(root, outbox), input_bytes_max)

    def close(self) -> None:
        """Release the spool."""
        self._board.close()
        self._layout.close()

    def default_settle_s(self) -> float:
        """How long a file should lie still here before it is claimed, unless the operator says otherwise."""
        return self._layout.default_settle_s()

    @translated("the inbox was listed")
    def sweep(self) -> Sequence[Seen]:
        return self._inbox.sweep()

    @translated("a file was asked for its writers")
    def has_writer(self, name: bytes) -> bool | None:
        return self._inbox.has_writer(name)

    @translated("the options of a file were read")
    def peek_options(self, name: bytes) -> bytes | None:
        return self._inbox.peek_options(name)

    @translated("a batch was claimed")
    def claim(self, name: bytes, batch_id: str) -> bool:
        return self._claims.claim(name, checked_id(batch_id))

    @translated("the options of a batch were claimed")
    def claim_options(self, name: bytes, batch_id: str) -> bool:
        was_there = self._claims.claim_options(name, checked_id(batch_id))
        failpoints.reach("options.done")
        return was_there

    @translated("the options of a batch were read")
    def read_options(self, name: bytes, batch_id: str) -> bytes | None:
        return self._inbox.read_options(name, checked_id(batch_id))

    @translated("a batch id was looked up")
    def is_known(self, batch_id: str) -> bool:
        return (
            self._processing.has(batch_id)
            or self._outbox.has(batch_id)
            or self._outbox.has_archived(batch_id)
        )

    @translated("a batch id was looked up")
    def is_at_work(self, batch_id: str) -> bool:
        return self._processing.has(batch_id)

    @translated("a claimed file was looked at")
    def original(self, batch_id: str) -> Original | None:
        return self._processing.original(batch_id)

    @translated("the name of a batch was read")
    def original_name(self, batch_id: str) -> bytes | None:
        return self._processing.original_name(batch_id)

    @translated("a batch was measured")
    def batch_bytes(self, batch_id: str) -> int:
        return disk.bytes_below(checked_id(batch_id), self._layout.processing, but="orig")

    @translated("a batch file was copied")
    def copy_input(
        self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
    ) -> tuple[str, int]:
        return self._aside.kept_copy(batch_id) or self._processing.copy_input(batch_id, on_block)

    @translated("an empty copy was made")
    def copy_nothing(self, batch_id: str) -> tuple[str, int]:
        return self._aside.kept_copy(batch_id) or self._processing.copy_nothing(batch_id)

    @translated("the copy of a batch file was opened")
    def open_input(self, batch_id: str) -> BinaryIO:
        return self._processing.open_input(batch_id)

    def journal_path(self, batch_id: str) -> str:
        return os.fspath(self._layout.path / "processing" / checked_id(batch_id) / "journal")

    @translated("a damaged journal was put aside")
    def put_journal_aside(self, batch_id: str) -> None:
        self._aside.put(batch_id)

    @translated("damaged journals were looked up")
    def journals_aside(self, batch_id: str) -> list[str]:
        place = self._layout.path / "processing" / checked_id(batch_id)
        return [os.fspath(place / name) for name in self._aside.names(batch_id)]

    @translated("an intake was reset")
    def reset_intake(self, batch_id: str) -> None:
        self._processing.reset_intake(batch_id, keeps_copy=bool(self._aside.names(batch_id)))
        failpoints.reach("reset.done")

    @translated("an answer was written to partial/")
    def append_partial(self, batch_id: str, lines: bytes) -> None:
        self._board.append_partial(batch_id, lines)

    @translated("publish/ was made")
    def begin_publish(self, batch_id: str) -> None:
        self._outbox.begin_publish(batch_id)

    @translated("publish/ was deleted")
    def drop_publish(self, batch_id: str) -> None:
        self._outbox.drop_publish(batch_id)

    @translated("a result file was made")
    def create_result(self, batch_id: str, name: str) -> BinaryIO:
        return self._outbox.create_result(batch_id, name)

    @translated("results were synced")
    def seal_publish(self, batch_id: str) -> str:
        return self._outbox.seal_publish(batch_id)

    @translated("a batch was published")
    def publish(self, batch_id: str, final_name: str) -> str:
        return self._outbox.publish(batch_id, final_name)

    @translated("an original was archived")
    def archive(self, batch_id: str) -> None:
        self._aside.into_original(batch_id)
        self._outbox.archive(batch_id)
        failpoints.reach("archive.done")

    @translated("a batch was discarded")
    def discard(self, batch_id: str) -> None:
        failpoints.reach("trash.begun")
        self._processing.trash(checked_id(batch_id))
        failpoints.reach("trash.done")

    @translated("a batch was deleted")
    def empty_trash(self, batch_id: str) -> None:
        # The partial file first: the trash is what reminds recovery of a deletion that was interrupted.
        self._board.remove_partial(checked_id(batch_id))
        failpoints.reach("trash.partial_removed")
        self._processing.empty_trash(batch_id)
        failpoints.reach("trash.emptied")

    @translated("processing/ was listed")
    def places(self) -> Mapping[str, Place]:
        for batch_id in self._processing.trashed():
            self.empty_trash(batch_id)
        return self._processing.places()

    @translated("processing/ was listed")
    def strangers(self) -> list[str]:
        """Names in processing/ that are no batch's, for the log of recovery."""
        return self._processing.strangers()

    @translated("a result was looked up")
    def result_path(self, batch_id: str) -> str | None:
        return self._outbox.result_path(batch_id)

    @translated("a result was looked up")
    def remains_path(self, batch_id: str) -> str | None:
        return self._outbox.remains_path(batch_id)

    @translated("free space was measured")
    def free_bytes(self) -> int:
        space = os.fstatvfs(self._layout.root)
        return space.f_bavail * space.f_frsize

    @translated("free inodes were counted")
    def free_files(self) -> int | None:
        space = os.fstatvfs(self._layout.root)
        return space.f_favail if space.f_files else None

    @translated("the inodes were counted")
    def disk_files(self) -> int:
        return os.fstatvfs(self._layout.root).f_files

    @translated("the disk was measured")
    def disk_bytes(self) -> int:
        space = os.fstatvfs(self._layout.root)
        return space.f_blocks * space.f_frsize

    @translated("old originals were deleted")
    def expire_archive(
        self, older_than_s: float, now: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> int:
        return self._outbox.expire_archive(older_than_s, now, is_wanted)

    @translated("litter was removed")
    def remove_litter(self, now: float) -> int:
        return self._inbox.remove_litter(now)

    @translated("the order of owners was read")
    def turns(self) -> bytes:
        return self._board.turns()

    @translated("the order of owners was kept")
    def keep_turns(self, content: bytes) -> None:
        self._board.keep_turns(content)

    @translated("the status was written")
    def write_status(self, content: bytes) -> None:
        self._board.write_status(content)

    @translated("a control was looked up")
    def control_at(self, batch_id: str, verb: str) -> float | None:
        return self._board.control_at(batch_id, verb)

    @translated("a control was removed")
    def remove_control(self, batch_id: str, verb: str) -> bool:
        return self._board.remove_control(batch_id, verb)

    @translated("controls were listed")
    def controls(self, now: float) -> Sequence[tuple[str, str, float]]:
        return self._board.controls(now)
