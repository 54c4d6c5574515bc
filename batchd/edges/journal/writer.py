"""The one thread that writes a journal.

SUMMARY
    Everything that changes the journal waits in one queue. The thread takes what is queued, commits it as one
    transaction, acknowledges all of it at once, and repeats. There is no timer: while one commit is on its
    way to the disk, the next group gathers.

    remark  from any thread; nobody waits
    record  from the event loop; a future
    run     from another thread; returns when it is durable

    The queue is bounded by those who put into it, on a disk that is full for days too: who records waits for
    room in `daemon/ledger` before the next request, who runs waits here, and remarks between two of these
    are merged into one (`remarks`). Their order is that of the calls.

DIAGNOSTICS
    Warning: a commit that failed is tried again, with nothing of it acknowledged and all of it kept; while
    the disk is full, for as long as `may_wait` allows (`waits_for_room`).
    Fatal: when the tries are used up, or LMDB panicked and could not be opened again, everybody who waits
    gets JournalError, and so does who comes later.
    Bug: AssertionError for use after `close`.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

import lmdb
from loguru import logger

from batchd import failpoints
from batchd.edges.journal.remarks import Remarks
from batchd.edges.journal.rows import Changes
from batchd.edges.journal.trouble import words_of
from batchd.errors import FullJournalError, JournalError

#: One commit: beyond these, grouping saves nothing more, and a failed one has more to do again.
GROUP_CHANGES = 256
GROUP_BYTES = 4 * 1024**2
#: How long a blocking call waits for the disk: all tries, and a slow commit before each.
RUN_S = 120.0
#: How long `close` waits for the queue to reach the disk: all the pauses of the tries and as much again.
CLOSE_S = 25.0
#: How often an idle thread looks up; no wait is without an end.
IDLE_S = 60.0
#: After a panic LMDB works only when it was opened again. What fails so often in a row is no passing trouble.
REOPENS_MAX = 3

_T = TypeVar("_T")
Change = Callable[[Changes], object]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failed commit is tried, and the pauses between: doubling up to a bound. 11 s in all."""

    tries: int = 8
    first_s: float = 0.1
    longest_s: float = 5.0

    def pauses(self) -> Iterator[float]:
        for number in range(self.tries - 1):
            yield min(self.first_s * 2**number, self.longest_s)


class Store(Protocol):
    """Where the changes go: the environment, or one that fails on purpose."""

    def commit(self, changes: Sequence[Change]) -> list[object]:
        """All of them, or lmdb.Error and none."""

    def reopen(self) -> None:
        """After lmdb.PanicError. lmdb.Error or OSError when it may be tried again; DamagedJournalError when
        what is there cannot be believed.
        """

    def has_no_room(self, error: lmdb.Error) -> bool:
        """Whether this commit failed because the disk is full."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One change in the queue, its weight in a group, and who waits for it."""

    change: Change
    size: int = 0
    acknowledged: "asyncio.Future[None] | None" = None
    returned: "Future[object] | None" = None
    remarks: Remarks | None = None  # more may join them while nothing is queued behind

    @property
    def weight(self) -> int:
        return self.size if self.remarks is None else self.remarks.size


class Writer:
    """Owns the thread and its queue."""

    def __init__(self, store: Store, retry: Retry, may_wait: Callable[[], bool] = lambda: True) -> None:
        self._store = store
        self._may_wait = may_wait
        self._retry = retry
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._lost: BaseException | None = None
        self._is_busy = False
        self._steps = 0  # commits tried: who sees the same number twice knows that the disk hangs
        self.waits_for_room = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Writer({len(self._queue)} waiting)"

    @property
    def pulse(self) -> int | None:
        """Steps so far, while something waits to be written."""
        return self._steps if self._is_busy or self._queue else None

    def remark(self, make: Callable[[Remarks], None]) -> None:
        """Durable with a coming commit; nobody is told. `make` is called at once."""
        with self._wake:
            self._refuse()
            remarks = self._queue[-1].remarks if self._queue else None
            if remarks is None:
                remarks = Remarks()
                self._queue.append(_Waiting(remarks.apply, remarks=remarks))
                self._wake.notify()
            make(remarks)

    def record(self, change: Change, size: int) -> "asyncio.Future[None]":
        """The future, of the running loop, is done when the change is durable."""
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(_Waiting(change, size, acknowledged=acknowledged))
        return acknowledged

    def run(self, change: Callable[[Changes], _T]) -> _T:
        """Durable on return, with what the change returned. Such a change is large: it ends its group."""
        returned: Future[object] = Future()
        results: list[_T] = []
        self._enqueue(_Waiting(lambda rows: results.append(change(rows)), GROUP_BYTES, returned=returned))
        while not returned.done():
            wait((returned,), RUN_S)
            if not returned.done() and not self.waits_for_room:
                raise JournalError(
                    f"The journal's disk did not answer within {RUN_S:.0f} s.", _NEXT_STEP_DISK
                )
        returned.result()
        return results[-1]

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise JournalError(
                f"The journal's queue did not reach the disk within {CLOSE_S:.0f} s.", _NEXT_STEP_DISK
            )

    def _enqueue(self, waiting: _Waiting) -> None:
        with self._wake:
            self._refuse()
            self._queue.append(waiting)
            self._wake.notify()

    def _refuse(self) -> None:
        if self._lost is not None:
            raise self._lost
        assert not self._is_closing, "the journal is closed"

    def _work(self) -> None:
        group: list[_Waiting] = []
        try:
            while group := self._next_group():
                self._commit(group)
                self._tell(group, None)
                failpoints.reach("commit.told")
        except JournalError as error:
            self._give_up(group, error)
        except BaseException as bug:  # noqa: BLE001  # raised again in every thread that waits or comes
            logger.bind(event="journal_bug").opt(exception=bug).critical("journal: a bug ended the writer")
            self._give_up(group, bug)

    def _next_group(self) -> list[_Waiting]:
        """What waits, up to the size of one commit; empty when the journal is closing and all is written."""
        with self._wake:
            self._is_busy = False
            while not self._queue and not self._is_closing:
                self._wake.wait(IDLE_S)
            group: list[_Waiting] = []
            size = 0
            while self._queue and len(group) < GROUP_CHANGES and size < GROUP_BYTES:
                group.append(self._queue.popleft())
                size += group[-1].weight
            self._is_busy = bool(group)
            return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        changes = [waiting.change for waiting in group]
        pauses = self._retry.pauses()
        tries = 0
        while True:
            self._steps += 1
            try:
                self._store.commit(changes)
                self.waits_for_room = False
                return
            except lmdb.Error as failed:
                error = failed
            tries += 1
            pause_s = self._pause_after(error, pauses)
            if tries & (tries - 1) == 0:  # less and less often, for a disk may be full for days
                logger.bind(event="commit_failed").warning(
                    "journal: commit of {} changes failed, try {}, again in {} s: {}",
                    len(group),
                    tries,
                    pause_s,
                    # A full disk that takes half a write is an "Input/output error" to LMDB.
                    f"No space left on the disk ({error})" if self.waits_for_room else error,
                )
            time.sleep(pause_s)
            if isinstance(error, lmdb.PanicError):
                self._reopen()

    def _pause_after(self, error: lmdb.Error, pauses: Iterator[float]) -> float:
        self.waits_for_room = self._store.has_no_room(error)
        pause_s = next(pauses, None)
        if pause_s is not None:
            return pause_s
        if self.waits_for_room and not self._is_closing and self._may_wait():
            return self._retry.longest_s
        said = f"The journal cannot be written: {words_of(error)}."
        raise (FullJournalError if self.waits_for_room else JournalError)(said, _NEXT_STEP_DISK) from error

    def _reopen(self) -> None:
        for pause_s in (self._retry.first_s * 2**number for number in range(REOPENS_MAX)):
            self._steps += 1
            try:
                return self._store.reopen()
            except (lmdb.Error, OSError) as failed:
                error = failed
            logger.bind(event="reopen_failed").warning(
                "journal: LMDB could not be opened again after a panic: {}", error
            )
            time.sleep(pause_s)
        raise JournalError(
            f"The journal could not be opened again after a failed write: {error}.", _NEXT_STEP_DISK
        ) from error

    def _give_up(self, group: Sequence[_Waiting], error: BaseException) -> None:
        with self._wake:
            self._lost = error
            waiting = [*group, *self._queue]
            self._queue.clear()
        self._tell(waiting, error)

    def _tell(self, group: Sequence[_Waiting], error: BaseException | None) -> None:
        """Wake the event loop once for the whole group, and each blocked thread."""
        futures = [waiting.acknowledged for waiting in group if waiting.acknowledged is not None]
        if futures:
            try:
                futures[0].get_loop().call_soon_threadsafe(_settle, futures, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                logger.bind(event="late_acknowledgements").warning(
                    "journal: {} acknowledgements came after the event loop had ended", len(futures)
                )
        for waiting in group:
            if waiting.returned is not None:
                _settle_one(waiting.returned, error)


_NEXT_STEP_DISK = (
    "Free disk space, look into the kernel's log for disk errors, and start batchd again: "
    "nothing that was acknowledged is lost."
)


def _settle(futures: "Sequence[asyncio.Future[None]]", error: BaseException | None) -> None:
    for future in futures:
        if future.done():  # whoever waited was cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _settle_one(returned: "Future[object]", error: BaseException | None) -> None:
    if error is None:
        returned.set_result(None)
    else:
        returned.set_exception(error)
