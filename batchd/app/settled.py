"""Settled: an answer with all that will be known of it.

DIAGNOSTICS
    None: what the server's log does not tell in time stays unknown.
"""

import asyncio
from dataclasses import replace

from batchd.core.model import Answer, Usage


async def settled(answer: Answer) -> Answer:
    """At once where nothing is late; else when the log has told, or did not in time."""
    if answer.late is None:
        return answer
    told: asyncio.Future[Usage] = asyncio.get_running_loop().create_future()
    answer.late(lambda usage: None if told.done() else told.set_result(usage))
    return replace(answer, usage=await told, late=None)
