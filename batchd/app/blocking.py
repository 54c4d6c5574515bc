"""Blocking: work in a thread that must be waited for, and work that need not be.

SUMMARY
    A thread cannot be cancelled. `to_its_end` makes whoever is cancelled wait for the thread, so that nobody
    closes the spool or a journal under one that still renames and commits. `abandonable` is for looks that
    change nothing and may hang for ever, in a driver or on a dead mount: nobody waits for them, not even the
    end of the process.

DIAGNOSTICS
    None of its own: what the function raises.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from batchd.core.waiting import PAUSE_FIRST_S, PAUSE_LAST_S
from batchd.errors import NoSpaceError

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def to_its_end(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call this in a thread. A cancellation is obeyed when the call has ended, not before."""
    call = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        if not call.cancelled():
            call.exception()  # whoever was cancelled is not told; asyncio wants it to be looked at
        raise


async def abandonable(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call this in a thread of its own. A cancellation is obeyed at once, and leaves the call alone."""
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: Exception | None) -> None:
        if coming.done():
            return
        if error is not None:
            coming.set_exception(error)
        else:
            coming.set_result(value)  # type: ignore[arg-type]  # without an error it is there

    def call() -> None:
        value, error = None, None
        try:
            value = function(*args, **kwargs)
        except Exception as raised:  # noqa: BLE001 - it travels to whoever waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=call, name="look", daemon=True).start()
    return await coming


async def with_room(
    step: Callable[[], _T],
    on_full: Callable[[], None],
    is_stopped: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]],
) -> _T | None:
    """Call this in a thread until the disk has room for it; None when we are stopped before."""
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            return await to_its_end(step)
        except NoSpaceError:
            on_full()
        left_s = pause_s
        while left_s > 0:
            if is_stopped():
                return None
            await sleep(PAUSE_FIRST_S)
            left_s -= PAUSE_FIRST_S
        pause_s = min(2 * pause_s, PAUSE_LAST_S)
