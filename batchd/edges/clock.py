"""The clock and chance of the real world; nothing else in the house asks for them.

SUMMARY
    SystemClock    the port `Clock`
    suspended_s    how long the machine has slept since it was started

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


def suspended_s() -> float:
    """Monotonic time stands still while the machine sleeps, and the time since its start does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
