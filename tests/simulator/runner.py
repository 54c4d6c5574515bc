"""One runner: a model in memory, with slots that each remember their last tokens.

SUMMARY
    Runner.answer     waits for a slot, reads what the slot does not hold of the prompt, writes the answer
    Runner.kill       all in flight and all who wait get RunnerKilledError; the runner stays dead
    Runner.hung       nobody gets an answer until the runner is killed

    A request takes the idle slot that shares most of its beginning, if that is more than a tenth of it, else
    the slot that was idle longest. Slots share nothing.

DIAGNOSTICS
    RunnerKilledError: the runner died under the request.
"""

import asyncio
import time
from dataclasses import dataclass

from tests.simulator.answers import TOKEN_CHARS, tokens_in
from tests.simulator.machine import Held, Machine
from tests.simulator.models import ModelSpec

#: A slot is chosen for its prefix only when it shares more than this part of the new prompt.
SIMILARITY_MIN = 0.1

#: What an unset rate reports: nanoseconds for each token, so that durations are never zero.
INSTANT_NS = 1_000


class RunnerKilledError(Exception):
    """The runner died under the request."""


@dataclass(slots=True)
class Slot:
    index: int
    text: str = ""
    used_at: int = -1
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer cost. Durations in nanoseconds."""

    slot: int
    prompt_tokens: int
    cached_tokens: int
    prefill_ns: int
    decode_ns: int


def shared_chars(left: str, right: str) -> int:
    """The length of the common beginning, by halving: comparing slices is far faster than characters."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Runner:
    """`key` is what a request must equal to be answered without a reload."""

    def __init__(
        self,
        spec: ModelSpec,
        key: object,
        window: int,
        slot_count: int,
        rates: tuple[float, float],
        machine: Machine,
    ) -> None:
        self.spec = spec
        self.key = key
        self.window = window
        self.slots = [Slot(index) for index in range(slot_count)]
        self.users = 0
        self.hung = False
        self.keep_alive_s: float = 300.0
        self.idle_since = time.perf_counter()
        self.held = Held(machine, spec.memory_bytes(window, slot_count))
        self.dies_of_memory = False
        slowdown = machine.slowdown(self.held.size_bytes)
        self._prefill_rate, self._decode_rate = (rate / slowdown for rate in rates)
        self._gate = asyncio.Semaphore(slot_count)
        self._clock = 0
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_dead(self) -> bool:
        return self._death.done()

    @property
    def size_bytes(self) -> int:
        return self.held.size_bytes

    @property
    def gpu_bytes(self) -> int:
        return self.held.machine.on_gpu(self.size_bytes)

    def kill(self) -> None:
        if not self._death.done():
            self._death.set_result(None)

    async def pause(self, duration_s: float) -> None:
        """Let time pass, for ever while it hangs. Raises RunnerKilledError when it dies meanwhile."""
        if duration_s > 0:
            await asyncio.wait({self._death}, timeout=duration_s)
        if self.hung:
            await asyncio.wait({self._death})
        if self._death.done():
            raise RunnerKilledError

    async def answer(
        self, prompt: str, answer: str, answer_tokens: int, delay_s: float, chance: float = 1.0
    ) -> Reading:
        """`chance` in [0, 1]: how much memory the request needs beside the load."""
        async with self._gate:
            await self.pause(0)
            slot, shared = self._choose(prompt)
            slot.is_busy = True
            spike, is_answered = self.held.begin(chance), False
            try:
                if not self.held.fits:
                    self.dies_of_memory = True
                    self.kill()
                reading = await self._work(slot, shared, prompt, answer, answer_tokens, delay_s)
                is_answered = True
                return reading
            finally:
                self.held.end(spike, is_answered)
                slot.is_busy = False

    def _choose(self, prompt: str) -> tuple[Slot, int]:
        idle = [slot for slot in self.slots if not slot.is_busy]
        best, shared = max(
            ((slot, shared_chars(slot.text, prompt)) for slot in idle), key=lambda found: found[1]
        )
        if prompt and shared / len(prompt) > SIMILARITY_MIN:
            return best, shared
        oldest = min(idle, key=lambda slot: slot.used_at)
        return oldest, shared_chars(oldest.text, prompt)

    async def _work(
        self, slot: Slot, shared: int, prompt: str, answer: str, answer_tokens: int, delay_s: float
    ) -> Reading:
        prompt_tokens = tokens_in(prompt)
        cached = min(shared // TOKEN_CHARS, prompt_tokens - 1)
        evaluated = prompt_tokens - cached
        await self.pause(delay_s)
        slot.text = prompt[: shared if self._prefill_rate else len(prompt)]
        await self.pause(evaluated / self._prefill_rate if self._prefill_rate else 0)
        slot.text = prompt
        await self.pause(answer_tokens / self._decode_rate if self._decode_rate else 0)
        slot.text = prompt + answer
        self._clock += 1
        slot.used_at = self._clock
        return Reading(
            slot.index,
            prompt_tokens,
            cached,
            _duration_ns(evaluated, self._prefill_rate),
            _duration_ns(answer_tokens, self._decode_rate),
        )


def _duration_ns(tokens: int, rate: float) -> int:
    return int(tokens / rate * 1e9) if rate else tokens * INSTANT_NS
