"""The doctor: looks at this machine through the edges, and has the core judge what was found.

SUMMARY
    findings = await examine(settings, environment, is_quick, on_look)

    Looks that have nothing to do with each other run side by side, each with a limit; one that fails or hangs
    becomes a finding of its own, and hides no other. Nothing is changed. To measure slots a model is loaded,
    unless `is_quick`, or somebody else's model is resident, or a batchd is at work here; it is given back.

DIAGNOSTICS
    None raised: whatever goes wrong is a finding.
"""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from batchd.app.blocking import abandonable
from batchd.app.doctor_slots import measure_slots
from batchd.app.engines import ASK_TIMEOUT_S, OLLAMA_PROGRAM, PRIVATE, Engine, build_engines
from batchd.app.gauges import look_at_machine, programs_of
from batchd.app.own_models import look_at_models
from batchd.core.doctor.finding import Finding, Verdict, in_order, not_seen
from batchd.core.doctor.place import (
    judge_cards,
    judge_disk,
    judge_memory,
    judge_neighbours,
    judge_sleep,
    judge_spool,
)
from batchd.core.doctor.server import (
    EngineFacts,
    ModelFacts,
    judge_build,
    judge_engine,
    judge_models,
    judge_share,
)
from batchd.core.fault import Category, ModelFault
from batchd.core.model import ServerDescription
from batchd.core.readings import Reading
from batchd.edges import log
from batchd.edges.card_lock import holders
from batchd.edges.clock import SystemClock
from batchd.edges.evidence import Evidence
from batchd.edges.inhibitor import SleepInhibitor, may_suspend
from batchd.edges.llamacpp_build import embedded_version, read_build
from batchd.edges.neighbours import neighbours
from batchd.edges.ollama.survey import survey
from batchd.edges.ollama_server.mode import has_unit
from batchd.edges.ollama_server.models import user_name
from batchd.edges.spool.rights import disk_facts, spool_facts
from batchd.errors import BatchdError, ConfigError
from batchd.settings import Settings
from batchd.settings.proxy import proxy_to

#: A look takes milliseconds, or hangs; importing a large native library takes seconds.
LOOK_S = 30.0

#: Loading a large model from a slow disk, and a round of answers on a CPU.
MEASURE_S = 600.0

#: Told what is looked at now.
OnLook = Callable[[str], None]

#: As whom Ollama runs where nobody chose: its installer's user, and that of a container or a package.
_USUAL_USERS = ("ollama", "root")

Look = Callable[[], Awaitable[Iterable[Finding]]]


async def examine(
    settings: Settings, environment: Mapping[str, str], is_quick: bool, on_look: OnLook
) -> list[Finding]:
    """Everything, the worst first."""
    log.configure("CRITICAL", sys.stderr, False)  # what the edges would log, the findings say
    visit = _Visit(settings, environment, is_quick, on_look)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(visit.machine()),
            group.create_task(visit.looked("spool", visit.spool)),
            group.create_task(visit.looked("disk", visit.disk)),
            group.create_task(visit.looked("sleep", visit.sleep)),
            group.create_task(visit.server()),
        ]
    return in_order(finding for task in tasks for finding in task.result())


class _Visit:
    """One examination: what several looks share."""

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], is_quick: bool, on_look: OnLook
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._is_quick = is_quick
        self._on_look = on_look
        self._clock = SystemClock()
        self._reading: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self._engine: Engine | None = None
        self._mode = "own" if settings.engine == "ollama" and settings.ollama.mode == "own" else "attach"
        self._address = ""
        self._models: list[ModelFacts] = []

    async def looked(self, topic: str, look: Look, limit_s: float = LOOK_S) -> list[Finding]:
        """What this look finds, or why it found nothing."""
        self._on_look(topic)
        try:
            async with asyncio.timeout(limit_s):
                return list(await look())
        except TimeoutError:
            return [not_seen(topic, f"it took longer than {limit_s:.0f} s")]
        except BatchdError as error:
            return [Finding(topic, Verdict.PROBLEM, error.message, "", error.next_step)]
        except Exception as error:  # noqa: BLE001 - one failing look never hides the others
            return [not_seen(topic, f"{type(error).__name__}: {error}")]

    async def machine(self) -> list[Finding]:
        """Cards, memory, and the embedded engine, which depends on the cards."""
        found = await self.looked("gpu", self._cards)
        if not self._reading.done():
            self._reading.set_result(Reading())
        return [*found, *await self.looked("embedded", self._build)]

    async def spool(self) -> Iterable[Finding]:
        path = self._settings.spool
        return judge_spool(await abandonable(lambda: spool_facts(path, self._is_held())))

    async def disk(self) -> Iterable[Finding]:
        path = self._settings.spool
        free_bytes, disk_bytes, free_files = await abandonable(disk_facts, path)
        return [judge_disk(str(path), free_bytes, disk_bytes, free_files)]

    async def sleep(self) -> Iterable[Finding]:
        can_sleep, is_held = await abandonable(may_suspend), False
        if can_sleep:
            lock = SleepInhibitor()
            await lock.hold()
            is_held = lock.is_held
            await lock.release()
        return [judge_sleep(can_sleep, is_held)]

    async def server(self) -> list[Finding]:
        """The engine, and what can be asked of it: each step needs the one before it."""
        found = await self.looked("engine", self._look_engine, LOOK_S + ASK_TIMEOUT_S)
        try:
            found += await self.looked("own models", self._own_models)
            found += await self.looked("neighbours", self._neighbours)
            if self._address and self._settings.engine == "ollama":
                found += await self.looked("models", self._look_models)
            if self._engine is not None and not self._is_quick:
                found += await self.looked("slots", self._slots, MEASURE_S)
        finally:
            if self._engine is not None:
                await self._engine.server.close()
        return found

    async def _cards(self) -> Iterable[Finding]:
        reading = await abandonable(look_at_machine, programs_of(self._settings))
        self._reading.set_result(reading)
        return [*judge_cards(reading.cards, reading.gpu_trouble), *judge_memory(reading)]

    async def _build(self) -> Iterable[Finding]:
        facts = await abandonable(read_build, self._settings.engine == "llamacpp")
        cards = (await self._reading).cards
        return [judge_build(facts, [card.name for card in cards])]

    async def _look_engine(self) -> Iterable[Finding]:
        chosen = self._settings
        embedded = chosen.llamacpp
        facts = EngineFacts(
            chosen.engine,
            "child" if chosen.engine == "llamacpp" and embedded.url is None else "url",
            "",
            has_unit=has_unit(),
            has_program=shutil.which(str(chosen.ollama.binary or OLLAMA_PROGRAM)) is not None,
            embedded=embedded_version(),
            has_model_file=any(path.is_file() for path in _model_files(chosen)),
            trusted=(chosen.ollama.user,) if chosen.ollama.user else (user_name(), *_USUAL_USERS),
        )
        if facts.mode == "child":
            self._mode = facts.mode
        if facts.mode == "child" and not (facts.embedded and facts.has_model_file):
            return [judge_engine(facts)]
        engines = await build_engines(chosen, self._clock)
        is_own = engines[0].address.startswith(PRIVATE)
        self._mode = "own" if is_own else "attach" if engines[0].name == "ollama" else facts.mode
        return [await self._ask(engine, replace(facts, mode=self._mode)) for engine in engines]

    async def _ask(self, engine: Engine, facts: EngineFacts) -> Finding:
        """Whether this one answers; the first that does is the one that is looked at more closely."""
        facts = replace(facts, address=engine.address)
        # An own server is started by the question, so it is asked only where slots are measured anyway.
        if self._mode == "own" and (self._is_quick or self._engine is not None):
            self._engine = self._engine or engine
            return judge_engine(facts)
        described = await engine.server.describe(ASK_TIMEOUT_S)
        if isinstance(described, ServerDescription) and self._engine is None:
            self._engine, self._address = engine, described.address
        else:
            await engine.server.close()
        if isinstance(described, ModelFault):
            is_refused = described.needs_operator and described.category is Category.NETWORK
            return judge_engine(replace(facts, trouble=described.message, is_refused=is_refused))
        return judge_engine(replace(facts, version=described.version, users=described.users))

    async def _own_models(self) -> Iterable[Finding]:
        chosen = self._settings.ollama
        finding = await abandonable(look_at_models, self._mode, self._environment, chosen.models_dir)
        return [] if finding is None else [finding]

    async def _neighbours(self) -> Iterable[Finding]:
        found = await abandonable(neighbours)
        # An own server that runs now was started by this very look.
        others = [
            item for item in found if not (self._mode == "own" and self._address and item.kind == "ollama")
        ]
        locks = self._settings.card_locks
        held = await abandonable(holders, locks)
        return [judge_neighbours(others, self._mode, [f"{item.card} ({item.words()})" for item in held])]

    async def _look_models(self) -> Iterable[Finding]:
        found = await survey(self._address, ASK_TIMEOUT_S, proxy_to(self._address))
        if isinstance(found, ModelFault):
            return [not_seen("models", found.message.rstrip("."))]
        self._models = found
        card_count = len((await self._reading).cards)
        shares = (judge_share(model, card_count) for model in found if model.is_resident)
        return [*judge_models(found, self._settings.model), *filter(None, shares)]

    async def _slots(self) -> Iterable[Finding]:
        assert self._engine is not None
        if await abandonable(self._is_busy):
            saw = "Slots were not measured: a batchd is at work here, and it would be disturbed."
            return [Finding("slots", Verdict.NOTE, saw, "", "`batchd status` says which it uses")]
        card_count = len((await self._reading).cards)
        return await measure_slots(self._engine, self._settings, self._models, card_count, self._clock)

    def _is_busy(self) -> bool:
        """Whether another batchd is at work on this spool or, with a server of this machine, on its cards."""
        locks = () if self._settings.share_card else self._settings.card_locks
        is_local = self._engine is not None and self._engine.is_local
        return self._is_held() or (is_local and bool(holders(locks)))

    def _is_held(self) -> bool:
        try:
            return Evidence.open(self._settings.spool).is_held()
        except ConfigError:
            return False


def _model_files(settings: Settings) -> Iterable[Path]:
    chosen = settings.llamacpp
    return [*chosen.models.values(), *([chosen.gguf] if chosen.gguf else [])]
