"""The bell: a hint that the inbox may have changed, from watchfiles.

SUMMARY
    watchfiles loses events without a word (its queue overflows, the inbox is made anew) and cannot say that a
    file is complete. So it only rings; the sweep is the truth, and a silent bell costs some seconds.

    The application runs `run` in its task group, beside whoever calls `wait`.

DIAGNOSTICS
    Warning: a watcher that broke (one file whose name is not UTF-8 is enough) is said once for each kind of
    trouble, rings, and is built anew after a pause.
"""

import asyncio
import contextlib
import os
from pathlib import Path

from loguru import logger
from watchfiles import awatch

from batchd.core.text import printable

#: Between a broken watcher and the next one: short against the sweep interval of some seconds, long enough
#: that somebody who keeps breaking it costs nothing.
PAUSE_S = 2.0

#: How often we look whether the directory still is the one that we watch.
_IDENTITY_CHECK_MS = 5_000

#: Changes that come this close together are one ring.
_DEBOUNCE_MS = 200


class Bell:
    """The port `Bell` over one directory."""

    def __init__(self, directory: Path, pause_s: float = PAUSE_S) -> None:
        self._directory = directory
        self._pause_s = pause_s
        self._rung = asyncio.Event()
        self._closing = asyncio.Event()
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"Bell({os.fspath(self._directory)!a})"

    async def wait(self, timeout_s: float) -> bool:
        """One ring answers one wait, whenever it came."""
        try:
            # Not wait_for: where the ring and a cancellation come together, Python 3.11's forgets the latter.
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def close(self) -> None:
        """Ends `run`, and whoever waits."""
        self._closing.set()
        self._rung.set()

    async def run(self) -> None:
        """Watch until `close`, whatever happens to the directory."""
        while not self._closing.is_set():
            try:
                await self._watch()
            except* Exception as group:  # noqa: BLE001
                # Whatever it is, the next sweep sees what it missed: OSError, RuntimeError from the watcher's
                # Rust half, or ImportError, since what `awatch` runs on is imported when it is first needed.
                self._say_once(_first(group))
            self._rung.set()  # something happened, or was missed between two watchers
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s):
                    await self._closing.wait()

    async def _watch(self) -> None:
        """Ring for each change; return when the directory is another one than at the start."""
        identity = self._identity()
        changes = awatch(
            self._directory,
            watch_filter=None,  # the default one drops any path with `.git` or `node_modules` anywhere
            recursive=False,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_IDENTITY_CHECK_MS,
            yield_on_timeout=True,
            stop_event=self._closing,
        )
        async with contextlib.aclosing(changes):
            self._rung.set()  # what came before the watcher stood
            async for change in changes:
                if change:
                    self._rung.set()
                if self._identity() != identity:
                    return

    def _identity(self) -> tuple[int, int]:
        found = self._directory.stat()
        return (found.st_dev, found.st_ino)

    def _say_once(self, error: BaseException) -> None:
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            logger.bind(event="watcher_failed").warning(
                "the watcher of the inbox broke and is built anew: {}", printable(str(error))
            )


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
