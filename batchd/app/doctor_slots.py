"""The doctor's probe: how many requests a model server really runs at one time.

SUMMARY
    A model is loaded with a small window, and asked the same short question by several at once. The server
    says how long it read and wrote for each; the moments at which the answers came tell the rest.

DIAGNOSTICS
    None raised: a load or an answer that fails is a finding.
"""

from collections.abc import Sequence

from batchd.app.drill import together
from batchd.app.engines import Engine
from batchd.core.doctor.finding import Finding, Verdict
from batchd.core.doctor.server import ModelFacts, judge_share, judge_slots
from batchd.core.fault import ModelFault
from batchd.core.model import Load, Loaded
from batchd.daemon.ports import Clock
from batchd.settings import Settings

#: Small, so that the load is quick and fits; the question has some 100 tokens.
WINDOW_TOKENS = 512

#: More than anybody sets, and few enough to end soon where they run one after the other.
PROBES_MIN = 8
PROBES_MAX = 32

LOAD_S = 300.0
UNLOAD_S = 20.0


async def measure_slots(
    engine: Engine, settings: Settings, models: Sequence[ModelFacts], card_count: int, clock: Clock
) -> list[Finding]:
    """Load, ask, give back."""
    name, why_not = _choose(engine, settings, models)
    if not name:
        return [Finding("slots", Verdict.NOTE, f"Slots were not measured: {why_not}")]
    window_tokens = min(WINDOW_TOKENS, settings.window_tokens_max)
    load = Load(name, window_tokens, engine.limits.slots, accepts_larger=True)
    loaded = await engine.server.load(load, LOAD_S)
    if isinstance(loaded, ModelFault):
        asked = f"{load.slots} slots of {load.window_tokens} tokens"
        saw = f"{name} could not be loaded with {asked}: {loaded.message}"
        return [
            Finding("slots", Verdict.PROBLEM, saw, "A batch for this model would meet the same.", engine.hint)
        ]
    try:
        return [*_share(loaded, card_count), await _probed(engine, load, clock)]
    finally:
        # Nobody had it in memory before us: an attached server would keep it for another five minutes.
        await (engine.server.unload if engine.limits.owns_slots else engine.server.restart)(UNLOAD_S)


def _choose(engine: Engine, settings: Settings, models: Sequence[ModelFacts]) -> tuple[str, str]:
    """A model to load, or why there is none. Somebody's resident model is left in peace."""
    if engine.name == "llamacpp":
        if settings.llamacpp.url is not None and settings.model is None:
            return "", "name the model of that server with BATCHD_MODEL."
        return settings.model or next(iter(settings.llamacpp.models), "probe"), ""
    resident = [model.name for model in models if model.is_resident]
    if resident:
        return (
            "",
            f"{resident[0]} is in memory, and another window would load it anew. `ollama stop {resident[0]}`",
        )
    chat = [model.name for model in models if model.answers_chat]
    if settings.model is not None:
        return settings.model, ""
    return (chat[0], "") if chat else ("", "the server has no model that answers a chat.")


def _share(loaded: Loaded, card_count: int) -> list[Finding]:
    facts = ModelFacts(loaded.model, "", size_bytes=loaded.size_bytes, gpu_bytes=loaded.gpu_bytes)
    finding = judge_share(facts, card_count)
    return [] if finding is None else [finding]


async def _probed(engine: Engine, load: Load, clock: Clock) -> Finding:
    probes = max(PROBES_MIN, min(2 * load.slots, PROBES_MAX))
    measured = await together(engine.server, load.model, probes, clock)
    if isinstance(measured, ModelFault):
        saw = f"{load.model} is loaded and does not answer: {measured.message}"
        return Finding("slots", Verdict.PROBLEM, saw, "A batch for this model would meet the same.")
    return judge_slots(load.slots, measured, probes, load.model, engine.limits.owns_slots)
