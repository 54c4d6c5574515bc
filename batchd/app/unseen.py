"""Unseen: exceptions of callbacks, and of tasks and futures that nobody awaits.

SUMMARY
    asyncio logs them and goes on, with whatever they left half done. Under `nothing_unseen` the first of them
    ends the work, and is raised in its place: after a bug nobody can say what is counted and what is not, and
    the next start finds all of it in the journal.

DIAGNOSTICS
    Bug: the exception itself.
    Warning: what a transport or a protocol met: that is a server's doing, and whoever waits for it is told.
    So is BatchdError, the expected trouble: who asks for the same again gets it again.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchd.edges import log
from batchd.errors import BatchdError


@contextmanager
def nothing_unseen(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> Iterator[None]:
    """While this task, the caller, works in the block."""
    bugs: list[BaseException] = []

    def see(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        is_outside = "transport" in context or "protocol" in context or isinstance(error, BatchdError)
        if error is None or is_outside:
            log.note("WARNING", "unseen", f"asyncio: {context.get('message')} ({error!r})")
            return
        bugs.append(error)
        task.cancel()

    before = loop.get_exception_handler()
    loop.set_exception_handler(see)
    try:
        yield
    except asyncio.CancelledError:
        if bugs:
            raise bugs[0] from None
        raise
    finally:
        loop.set_exception_handler(before)
    if bugs:
        raise bugs[0]
