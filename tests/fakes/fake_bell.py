"""A bell that rings when a test pulls it.

DIAGNOSTICS
    None.
"""

import asyncio
import contextlib


class FakeBell:
    """The port `Bell`."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._closed = asyncio.Event()

    def ring(self) -> None:
        """Something may have changed."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        was_rung = self._rung.is_set()
        self._rung.clear()
        return was_rung

    async def run(self) -> None:
        await self._closed.wait()

    async def close(self) -> None:
        self._closed.set()
        self._rung.set()
