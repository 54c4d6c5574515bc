"""Blocking: work that must not be left alone in its thread.

SUMMARY
    A thread cannot be cancelled. `to_its_end` makes whoever is cancelled wait for the thread, so that nobody
    closes the spool or a journal under one that still renames and commits.

DIAGNOSTICS
    None of its own: what the function raises.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

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
