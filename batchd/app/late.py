"""Late: what a log tells of an answer after it has come.

DIAGNOSTICS
    None: what the server's log does not tell in time stays unknown.
"""

import asyncio
from dataclasses import replace

from batchd.core.model import Answer, Usage


async def with_late_usage(answer: Answer) -> Answer:
    """Returns at once where nothing is late; else when the log has told, or did not in time."""
    if answer.late is None:
        return answer
    told: asyncio.Future[Usage] = asyncio.get_running_loop().create_future()
    answer.late(lambda usage: None if told.done() else told.set_result(usage))
    return replace(answer, usage=await told, late=None)
