"""Loops: clients that keep nothing, to hold batchd against.

SUMMARY
    read_requests    a batch file as requests
    saturate         every slot busy, one request after the other in each
    measure          the same on a real engine, which is built, loaded and closed for it

    They speak through the same edge as batchd, so that what differs is batchd.

DIAGNOSTICS
    Fatal: UnavailableError for the first fault: a comparison with an answer missing is none.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchd.app.blocking import abandonable
from batchd.app.cards import cards_held
from batchd.app.drill import keep_busy
from batchd.app.engines import Engine, build_engine, out_of_reach, wait_for
from batchd.app.gauges import programs_of
from batchd.core.fault import ModelFault
from batchd.core.model import Answer, Load, Source
from batchd.core.request import LineLimits, Request, parse_line
from batchd.daemon.ports import Clock, ModelServer
from batchd.edges.clock import SystemClock
from batchd.errors import BatchdError
from batchd.settings import Settings
from batchd.tools.child import FAMILY_S, held_beside

#: A model that needs longer to come in does not come.
LOAD_S = 600.0

#: One answer, also where many slots share a slow CPU and prompts are as long as one may ask for.
ANSWER_S = 600.0


@dataclass(slots=True)
class Sent:
    """What a loop did."""

    answered: int = 0
    prompt_tokens: int = 0
    evaluated_tokens: int | None = 0  # None: the server does not tell
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    duration_s: float = 0.0
    server_bytes: int = 0
    source: str = Source.ENGINE.value


def read_requests(batch: Path) -> list[Request]:
    """All of them. The file is ours, so every line is good."""
    with batch.open("rb") as file:
        parsed = [
            parse_line(line.rstrip(b"\n"), number, LineLimits(), None) for number, line in enumerate(file, 1)
        ]
    requests = [item for item in parsed if isinstance(item, Request)]
    assert len(requests) == len(parsed), "the workload has only good lines"
    return requests


async def saturate(
    server: ModelServer,
    requests: Sequence[Request],
    slots: int,
    clock: Clock,
    on_answer: Callable[[int], None] = lambda count: None,
) -> Sent | ModelFault:
    """`slots` requests in flight, in the order given; the first fault ends it."""
    sent, began = Sent(), clock.monotonic()

    def enter(_: Request, answer: Answer) -> None:
        usage = answer.usage
        sent.answered += 1
        sent.prompt_tokens += usage.prompt_tokens
        read, before = usage.evaluated_tokens, sent.evaluated_tokens
        sent.evaluated_tokens = None if read is None or before is None else before + read
        sent.completion_tokens += usage.completion_tokens
        sent.prefill_s += usage.prefill_s or 0.0
        sent.decode_s += usage.decode_s or 0.0
        sent.source = (Source.UNKNOWN if sent.evaluated_tokens is None else usage.cached_source).value
        on_answer(sent.answered)

    fault = await keep_busy(server, requests, slots, enter, ANSWER_S)
    sent.duration_s = clock.monotonic() - began
    return fault or sent


async def measure(
    settings: Settings,
    requests: Sequence[Request],
    slots: int,
    window_tokens: int,
    on_answer: Callable[[int], None] = lambda count: None,
) -> Sent:
    """On the engine of these settings. The load is not in the time."""
    clock = SystemClock()
    engine = await build_engine(settings, clock)
    try:
        await wait_for([engine], clock)
        with cards_held(settings, [engine]):
            loaded = await engine.server.load(Load(requests[0].model, window_tokens, slots), LOAD_S)
            if isinstance(loaded, ModelFault):
                raise out_of_reach(engine, loaded)
            return await _watched(engine, settings, requests, slots, clock, on_answer)
    finally:
        await engine.server.close()


async def _watched(
    engine: Engine,
    settings: Settings,
    requests: Sequence[Request],
    slots: int,
    clock: Clock,
    on_answer: Callable[[int], None],
) -> Sent:
    """The loop, with an eye on the memory of the model server."""
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, await abandonable(held_beside, {os.getpid()}, programs_of(settings)))
            await clock.sleep(FAMILY_S)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        try:
            sent = await saturate(engine.server, requests, slots, clock, on_answer)
        finally:
            watching.cancel()
    if isinstance(sent, ModelFault):
        raise BatchdError(f"The model server failed under the measurement: {sent.message}", engine.hint)
    sent.server_bytes = highest
    return sent
