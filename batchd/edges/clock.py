"""The clock and chance of the real world; nothing else in the house asks for them.

DIAGNOSTICS
    None.
"""

import asyncio
import random
import time


class SystemClock:
    """The port `Clock`."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)

    def random(self) -> float:
        return random.random()
