"""A model server on a simulated machine, in virtual time: the port `ModelServer`, without any HTTP.

SUMMARY
    Rig             a machine, a model, their speeds, and which requests are poison
    MachineServer   loads, answers, spikes, leaks, dies, as `tests/simulator/machine` says

    Its speeds and sizes are made up; nothing measured with it says anything of a real model.

DIAGNOSTICS
    None.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source, Usage
from batchd.core.request import Request
from tests.simulator.machine import Held, Machine

#: What ending a dead runner takes.
RESTART_S = 1.0


@dataclass(frozen=True, slots=True)
class Rig:
    """`kv_bytes` a token of a slot, `compute_bytes` a slot. One slot alone answers in `answer_s`; the others
    beside it add `crowding` of that each, so more slots give more, and ever less more."""

    machine: Machine
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int = 0
    load_s: float = 5.0
    answer_s: float = 2.0
    crowding: float = 0.1
    poison: frozenset[str] = field(default_factory=frozenset)
    hanging: frozenset[str] = field(default_factory=frozenset)
    dies_silently: bool = False

    def size_bytes(self, window_tokens: int, slots: int) -> int:
        return self.weights_bytes + slots * (window_tokens * self.kv_bytes + self.compute_bytes)

    def request_s(self, busy: int) -> float:
        return self.answer_s * (1.0 + self.crowding * (busy - 1))

    def fits(self, window_tokens: int, slots: int) -> bool:
        return self.machine.holds(self.size_bytes(window_tokens, slots))


def _lost(category: Category, text: str) -> ModelFault:
    return ModelFault(category, text, is_temporary=True, is_server_lost=True)


class MachineServer:
    """`deaths` are the moments at which the runner died, `sent` who was asked for how often."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self._random = Random(seed)
        self._held: Held | None = None
        self._load: Load | None = None
        self._death: asyncio.Future[ModelFault] | None = None
        self._busy = 0
        self._is_hung = False
        self.deaths: list[float] = []
        self.restarts: list[float] = []
        self.loads: list[Load] = []
        self.sent: dict[str, int] = {}

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        return ServerDescription("machine", "1", "own", "nowhere")

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        return dict.fromkeys(models, "sha256:1")

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        if self._load != load or self._is_dead:
            fault = await self._bring_in(load)
            if fault is not None:
                return fault
        assert self._held is not None
        size = self._held.size_bytes
        on_gpu = self.rig.machine.on_gpu(size)
        return Loaded(
            load.model, "sha256:1", None, load.window_tokens, load.slots, size, on_gpu, None, self.rig.load_s
        )

    async def _bring_in(self, load: Load) -> ModelFault | None:
        self._load = self._held = None
        if not self.rig.fits(load.window_tokens, load.slots):
            await asyncio.sleep(0.5)  # it fails at once: the buffers are asked for first
            return _lost(
                Category.OOM, "llama-server process has terminated: cudaMalloc failed: out of memory"
            )
        await asyncio.sleep(self.rig.load_s)
        self._load, self._is_hung = load, False
        self._held = Held(self.rig.machine, self.rig.size_bytes(load.window_tokens, load.slots))
        self._death = asyncio.get_running_loop().create_future()
        self.loads.append(load)

        return None

    async def unload(self, timeout_s: float) -> None:
        self._load = self._held = None

    async def count_tokens(self, request: Request) -> int | None:
        return None

    async def restart(self, timeout_s: float) -> ModelFault | None:
        self.restarts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(RESTART_S)
        self._load = self._held = None
        return None

    async def close(self) -> None:
        pass

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        if self._held is None or self._is_dead or self._death is None:
            return _lost(Category.NETWORK, "connection refused")
        self.sent[request.custom_id] = self.sent.get(request.custom_id, 0) + 1
        held, death = self._held, self._death
        is_canary = request.custom_id == "canary"
        spike = held.begin(1.0 if is_canary else self._random.random())
        self._busy += 1
        try:
            if not held.fits:
                self._die(Category.CRASH if self.rig.dies_silently else Category.OOM)
            elif request.custom_id in self.rig.poison:
                asyncio.get_running_loop().call_later(0.2, self._poisoned, death)
            elif request.custom_id in self.rig.hanging:
                self._is_hung = True
            return await self._finish(request, death, timeout_s)
        finally:
            self._busy -= 1
            held.end(spike, is_answered=not death.done() and not is_canary)

    async def _finish(
        self, request: Request, death: "asyncio.Future[ModelFault]", timeout_s: float
    ) -> Answer | ModelFault:
        jitter = 0.7 + 0.6 * self._random.random()
        needed_s = 0.1 if request.custom_id == "canary" else jitter * self.rig.request_s(self._busy)
        await asyncio.wait({death}, timeout=min(needed_s, timeout_s))
        if not death.done() and self._is_hung:
            await asyncio.wait({death}, timeout=max(0.0, timeout_s - needed_s))
        if death.done():
            return death.result()
        if self._is_hung or needed_s > timeout_s:
            return _lost(Category.TIMEOUT, f"no answer within {timeout_s:g} s")
        written = max(1, request.completion_tokens_max // 2)
        usage = Usage(50, written, 0, Source.ENGINE, needed_s / 10, needed_s * 0.9)
        return Answer("yes", None, "stop", usage)

    @property
    def _is_dead(self) -> bool:
        return self._death is None or self._death.done()

    def _poisoned(self, death: "asyncio.Future[ModelFault]") -> None:
        if death is self._death:
            self._die(Category.CRASH)

    def _die(self, category: Category) -> None:
        assert self._death is not None
        if not self._death.done():
            self.deaths.append(asyncio.get_running_loop().time())
            text = "CUDA error: out of memory" if category is Category.OOM else "unexpected EOF"
            self._death.set_result(_lost(category, text))
