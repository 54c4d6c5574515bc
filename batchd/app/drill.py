"""Drill: requests as a batch would send them, to measure a model server with.

SUMMARY
    together    how many of several simultaneous requests really ran at one time
    ask         every slot once, at the same time
    keep_busy   every slot, one request after the other
    sustain     the same with requests of our own, for a while

    The requests share a beginning and differ in their ends, as those of a batch do.

DIAGNOSTICS
    None raised: the first fault ends the load, and is returned.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from batchd.app.late import with_late_usage
from batchd.core.doctor.server import slots_seen
from batchd.core.fault import ModelFault
from batchd.core.model import Answer
from batchd.core.request import Endpoint, Message, Request
from batchd.daemon.ports import Clock, ModelServer

#: An answer of a batch that classifies or extracts.
ANSWER_TOKENS = 32

#: Enough to see that a slot reads and writes.
CANARY_TOKENS = 4

#: One answer, also where many slots share a slow CPU.
ANSWER_S = 300.0

#: Words of the shared beginning: some 70 tokens, so that the smallest window holds a request.
_SHARED = "You are a careful clerk. " + "Name the colour of each thing, its size and its use. " * 5


@dataclass(slots=True)
class Tally:
    """What a load brought: answers, their tokens, and the first fault."""

    requests: int = 0
    completion_tokens: int = 0
    prompt_tokens: int = 0
    evaluated_tokens: int = 0
    prefill_s: float = 0.0
    words: int = 0
    fault: ModelFault | None = None
    lasted_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        """Of the whole time, from the first request to the last answer."""
        return self.requests / self.lasted_s if self.lasted_s else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Written ones."""
        return self.completion_tokens / self.lasted_s if self.lasted_s else 0.0

    @property
    def prefill_rate(self) -> float:
        """Tokens read a second, in one slot; 0 where the server does not tell."""
        return self.evaluated_tokens / self.prefill_s if self.prefill_s else 0.0

    def add(self, request: Request, answer: Answer) -> None:
        """One more answer."""
        self.requests += 1
        self.words += sum(len(message.text.split()) for message in request.messages)
        if (read := answer.usage.evaluated_tokens) is not None:
            self.evaluated_tokens += read
            self.prefill_s += answer.usage.prefill_s or 0.0
        self.completion_tokens += answer.usage.completion_tokens
        self.prompt_tokens += answer.usage.prompt_tokens


def question(model: str, number: int, words: int = 12, answer_tokens: int = ANSWER_TOKENS) -> Request:
    """One request; `words` is the length of what is its own."""
    # Two digits each: models read digits one by one, so that long texts would weigh more for each word.
    own = " ".join(f"thing {10 + (number * 7 + place) % 90}" for place in range(words // 2))
    messages = (Message("system", _SHARED), Message("user", f"Thing {number}: {own}. Answer at length."))
    return Request(f"{number}", Endpoint.CHAT, model, messages, (), {"temperature": 0}, answer_tokens)


async def together(server: ModelServer, model: str, probes: int, clock: Clock) -> int | ModelFault:
    """The server says how long it read and wrote for each; the moments of the answers tell the rest."""

    async def probe(number: int) -> tuple[Answer | ModelFault, float]:
        return await server.answer(question(model, number), number, ANSWER_S), clock.monotonic()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe(number)) for number in range(probes)]
    ran = []
    for answer, came_at in (task.result() for task in tasks):
        if isinstance(answer, ModelFault):
            return answer
        ran_s = (answer.usage.prefill_s or 0.0) + (answer.usage.decode_s or 0.0)
        ran.append((came_at - ran_s, came_at))
    return slots_seen(ran)


async def ask(server: ModelServer, model: str, slots: int, clock: Clock) -> Tally:
    """Every slot once."""
    tally, began = Tally(), clock.monotonic()

    async def lane(slot: int) -> None:
        request = question(model, slot, answer_tokens=CANARY_TOKENS)
        answer = await server.answer(request, slot, ANSWER_S)
        if isinstance(answer, ModelFault):
            tally.fault = tally.fault or answer
        else:
            tally.add(request, await with_late_usage(answer))

    async with asyncio.TaskGroup() as group:
        for slot in range(slots):
            group.create_task(lane(slot))
    tally.lasted_s = clock.monotonic() - began
    return tally


async def keep_busy(
    server: ModelServer,
    requests: Iterable[Request],
    slots: int,
    on_answer: Callable[[Request, Answer], None],
    answer_s: float = ANSWER_S,
) -> ModelFault | None:
    """Every slot, one request after the other, in the order given; the first fault ends it."""
    coming = iter(requests)
    faults: list[ModelFault] = []

    async def tell(request: Request, answer: Answer) -> None:
        on_answer(request, await with_late_usage(answer))

    async def lane(slot: int) -> None:
        for request in coming:
            answer = await server.answer(request, slot, answer_s)
            if isinstance(answer, ModelFault):
                faults.append(answer)
            elif answer.late is None:
                on_answer(request, answer)
            else:
                group.create_task(tell(request, answer))  # the slot does not wait for what a log says
            if faults:
                return

    async with asyncio.TaskGroup() as group:
        for slot in range(slots):
            group.create_task(lane(slot))
    return faults[0] if faults else None


async def sustain(
    server: ModelServer,
    model: str,
    slots: int,
    span_s: float,
    clock: Clock,
    words_of: Callable[[int], int] = lambda number: 12,
    on_answer: Callable[[float], None] = lambda share: None,
) -> Tally:
    """`words_of` gives the length of the n-th request. Nothing is begun after `span_s`, or after a fault."""
    tally, began = Tally(), clock.monotonic()

    def requests() -> Iterator[Request]:
        for number in count(1):
            if clock.monotonic() - began >= span_s:
                return
            yield question(model, number, words_of(number))

    def enter(request: Request, answer: Answer) -> None:
        tally.add(request, answer)
        on_answer(min(1.0, (clock.monotonic() - began) / span_s))

    tally.fault = await keep_busy(server, requests(), slots, enter)
    tally.lasted_s = clock.monotonic() - began
    return tally
