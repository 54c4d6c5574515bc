"""Partial: durable answers on their way into `partial/`, for those who read along.

SUMMARY
    Lines are appended by a thread, one append at a time, so that their order is that of the answers and the
    event loop does not wait for the disk. `add` takes a line, `show` begins with what there is, `settle`
    waits until all of it was tried.

    On a full disk the lines wait, and whoever sends is told to pause.

DIAGNOSTICS
    Warning: a file that cannot be written, once; the journal has the answers.
    Bug: what an append raises besides, by `settle`, and by `fault` before that.
"""

import asyncio
from collections.abc import Callable

from loguru import logger

from batchd import failpoints
from batchd.daemon.ports import Spool
from batchd.errors import NoSpaceError, SpoolError

#: Answers that may wait while the disk is full. Sending pauses then, so these are what was in flight; beyond
#: it they stay out of `partial/`.
KEPT_MAX = 4_096


class Partial:
    """Of one batch. `on_full`: the disk took nothing."""

    def __init__(self, spool: Spool, batch_id: str, on_full: Callable[[], None]) -> None:
        self._spool = spool
        self._batch_id = batch_id
        self._on_full = on_full
        self._lines: list[bytes] = []
        self._appending: asyncio.Future[None] | None = None
        self._warned = False
        self.fault: BaseException | None = None

    def __repr__(self) -> str:
        return f"Partial({len(self._lines)} waiting)"

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes) -> None:
        """It is durable."""
        self._lines.append(line)

    def show(self) -> None:
        """Begin to append what there is, unless an append is on its way: then it is the next one's."""
        if self._appending is not None or not self._lines:
            return
        lines, self._lines = self._lines, []
        self._appending = asyncio.get_running_loop().run_in_executor(None, self._append, lines)
        self._appending.add_done_callback(lambda done: self._appended(done, lines))

    async def settle(self) -> None:
        """All of it was tried; what had waited for room, once more."""
        await self.ended()
        self.show()
        await self.ended()
        if self.fault is not None:
            raise self.fault

    async def ended(self) -> None:
        while self._appending is not None:
            await asyncio.wait({self._appending})

    def _append(self, lines: list[bytes]) -> None:
        self._spool.append_partial(self._batch_id, b"".join(line + b"\n" for line in lines))
        failpoints.reach("partial.done")

    def _appended(self, done: "asyncio.Future[None]", lines: list[bytes]) -> None:
        self._appending = None
        error = done.exception()
        if error is None:
            self.show()
        elif isinstance(error, SpoolError):
            if isinstance(error, NoSpaceError):
                self._lines = [*lines, *self._lines][:KEPT_MAX]
                self._on_full()
            self._warn(error)
        else:
            self.fault = error

    def _warn(self, error: SpoolError) -> None:
        if not self._warned:
            logger.bind(event="partial_failed", batch_id=self._batch_id).warning(
                "partial answers of {} are not written: {}", self._batch_id, error
            )
        self._warned = True
