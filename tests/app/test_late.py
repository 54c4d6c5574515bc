"""What a log tells of an answer after it has come."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from batchd.app.drill import keep_busy, question
from batchd.app.late import with_late_usage
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Request
from tests.fakes.scripted_model import ScriptedServer, answer

UNTOLD = Usage(100, 5, None, Source.UNKNOWN, 0.1, 0.2)
TOLD = replace(UNTOLD, cached_tokens=90, cached_source=Source.LOG)


def soon(tell: Callable[[Usage], None]) -> None:
    asyncio.get_running_loop().call_soon(tell, TOLD)


async def test_what_is_known_is_not_waited_for() -> None:
    here = answer("yes")
    assert await with_late_usage(here) is here


async def test_what_is_late_comes_with_its_count() -> None:
    late = replace(answer("yes"), usage=UNTOLD, late=soon)
    came = await with_late_usage(late)
    assert (came.usage, came.late) == (TOLD, None)


async def test_a_drill_sends_on_and_hears_every_count() -> None:
    tells: list[Callable[[Usage], None]] = []

    class Server(ScriptedServer):
        async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer:
            await asyncio.sleep(0)
            if request.custom_id != "2":
                return replace(answer("yes"), usage=UNTOLD, late=tells.append)
            for _ in range(99):  # the slot is not held by the counts of the first two
                await asyncio.sleep(0)
            assert len(tells) == 2
            for tell in tells:
                tell(TOLD)
            return answer("last")

    heard: list[Usage] = []
    asked = [question("m", number) for number in range(3)]
    fault = await keep_busy(Server(), asked, 1, lambda _, got: heard.append(got.usage))
    assert fault is None
    assert [usage.cached_source for usage in heard].count(Source.LOG) == 2
    assert len(heard) == 3
