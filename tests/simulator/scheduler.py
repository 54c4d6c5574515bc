"""Who is in memory: loads one model at a time, evicts, reloads what died or must differ.

SUMMARY
    expire     models that nobody used for their keep-alive go
    use        the runner that fits this request, loaded where needed, held while the block lasts
    put_out    `keep_alive: 0`: at once in the answer, after the last user in truth; a hung runner is killed
    kill, hang, forget     blows

DIAGNOSTICS
    RefusedError: not found, busy, out of memory.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from tests.simulator import texts
from tests.simulator.models import ModelSpec, full_name
from tests.simulator.routes import RefusedError, parse_options
from tests.simulator.runner import Runner
from tests.simulator.state import Counts, Faults, Settings

#: What a request pays for finding its model in memory: some microseconds, as recorded.
RESIDENT_NS = 900_000


class Scheduler:
    """The runners by model, and the queue before them."""

    def __init__(self, settings: Settings, counts: Counts, faults: Faults) -> None:
        self._settings = settings
        self._counts = counts
        self._faults = faults
        self._specs = {spec.name: spec for spec in settings.specs()}
        self._dying_loads = settings.dying_loads
        self._resident: dict[str, Runner] = {}
        self._loading = asyncio.Lock()
        self.unlisted = asyncio.Lock()  # `/api/ps` answers when a load has ended (measured: 0.33)
        self._pending = 0
        self._idle = asyncio.Condition()
        self.memory_bytes = settings.memory_bytes

    @property
    def runners(self) -> list[Runner]:
        self.expire()
        return list(self._resident.values())

    def expire(self) -> None:
        for runner in list(self._resident.values()):
            idle_s = time.perf_counter() - runner.idle_since
            if not runner.users and 0 <= runner.keep_alive_s <= idle_s:
                self._drop(runner)

    def spec(self, name: str) -> ModelSpec:
        if not name:
            raise RefusedError(400, "model is required")
        spec = self._specs.get(full_name(name))
        if spec is None:
            raise RefusedError(404, texts.not_found(name))
        return spec

    def remove(self, name: str) -> None:
        """Nobody finds it any more; a runner that holds it is left alone."""
        del self._specs[self.spec(name).name]

    @asynccontextmanager
    async def use(
        self, spec: ModelSpec, body: Mapping[str, object], keep_alive_s: float | None, *, count: bool
    ) -> AsyncIterator[tuple[Runner, int]]:
        if count and self._faults.take("busy"):
            raise RefusedError(503, texts.BUSY)
        runner, load_ns = await self._find(spec, body)
        if keep_alive_s is not None:
            runner.keep_alive_s = keep_alive_s
        runner.users += 1
        self._counts.requests += count
        self._counts.in_flight += count
        self._counts.in_flight_max = max(self._counts.in_flight_max, self._counts.in_flight)
        try:
            yield runner, load_ns
        finally:
            runner.users -= 1
            runner.idle_since = time.perf_counter()
            self._counts.in_flight -= count
            if not runner.users:
                await self._tell_idle()

    async def put_out(self, spec: ModelSpec) -> None:
        runner = self._resident.get(spec.weights)
        if runner is None:
            return
        if runner.hung:
            await asyncio.sleep(self._settings.hung_unload_s)
            runner.kill()
        if not runner.users or runner.is_dead:
            self._drop(runner)
        else:
            runner.keep_alive_s = 0

    def kill(self) -> None:
        for runner in self.runners:
            runner.kill()
            self._counts.kills += 1

    def hang(self) -> None:
        for runner in self.runners:
            runner.hung = True

    def forget(self) -> None:
        self.kill()
        self._resident.clear()

    async def _tell_idle(self) -> None:
        async with self._idle:
            for runner in self.runners:
                if not runner.users and runner.keep_alive_s == 0:
                    self._drop(runner)
            self._idle.notify_all()

    def _drop(self, runner: Runner) -> None:
        if self._resident.get(runner.spec.weights) is runner:
            del self._resident[runner.spec.weights]
            self._counts.unloads += 1

    async def _find(self, spec: ModelSpec, body: Mapping[str, object]) -> tuple[Runner, int]:
        options = parse_options(body)
        window = max(4, min(options.window or self._settings.default_window, spec.window_max))
        key = (spec.weights, window, body.get("shift") is not False, options.runner)
        if (runner := self._ready(spec, key)) is not None:
            return runner, RESIDENT_NS
        if self._pending > self._settings.max_queue:
            raise RefusedError(503, texts.BUSY)
        started = time.perf_counter_ns()
        self._pending += 1
        try:
            async with self._loading:
                if (runner := self._ready(spec, key)) is None:
                    runner = await self._load(spec, key, window)
                return runner, time.perf_counter_ns() - started
        finally:
            self._pending -= 1

    def _ready(self, spec: ModelSpec, key: object) -> Runner | None:
        runner = self._resident.get(spec.weights)
        return runner if runner is not None and runner.key == key and not runner.is_dead else None

    async def _load(self, spec: ModelSpec, key: object, window: int) -> Runner:
        await self._evict(spec)
        settings = self._settings
        slots = 1 if spec.is_serial else settings.slots
        async with self.unlisted:
            await asyncio.sleep(settings.load_s)
        if self._dying_loads > 0:
            self._dying_loads -= 1
            raise RefusedError(500, texts.DIED_AT_LOAD)
        machine = settings.machine(self.memory_bytes)
        if not machine.holds(spec.memory_bytes(window, slots)):
            kv, compute = spec.kv_cache_bytes(window, slots), spec.compute_bytes(window, slots)
            has_kv = machine.holds(spec.size_bytes + kv)
            raise RefusedError(500, texts.compute_oom(compute) if has_kv else texts.load_oom(kv))
        runner = Runner(spec, key, window, slots, (settings.prefill_rate, settings.decode_rate), machine)
        self._resident[spec.weights] = runner
        if settings.log_lines:
            print(texts.loaded_line(slots, window), flush=True)
        self._counts.loads += 1
        return runner

    async def _evict(self, spec: ModelSpec) -> None:
        """Make room: the old runner of the same model, and the oldest others. Waits for who uses them."""
        doomed = [runner for runner in self.runners if runner.spec.weights == spec.weights]
        others = [runner for runner in self.runners if runner.spec.weights != spec.weights]
        surplus = len(others) + 1 - self._settings.max_loaded
        doomed += others[: max(0, surplus)]
        for runner in doomed:
            runner.keep_alive_s = 0  # a request that comes meanwhile, and says otherwise, takes that back
            async with self._idle:
                await self._idle.wait_for(partial(_is_free, runner))
            self._drop(runner)


def _is_free(runner: Runner) -> bool:
    return runner.is_dead or (not runner.users and runner.keep_alive_s == 0)
