"""Survey: which models an Ollama has, of what kind, and where the resident ones lie. Loads nothing.

DIAGNOSTICS
    None raised: a server that does not answer is its ModelFault; a model that does not tell is left plain.
"""

from collections.abc import Mapping

from batchd.core.doctor.server import ModelFacts
from batchd.core.fault import ModelFault
from batchd.core.proxy import Proxy
from batchd.core.reply import BYTES_MAX, count_or_none, text_or_empty
from batchd.edges.ollama.client import Exchanger
from batchd.edges.ollama.listing import entries, find_listed
from batchd.edges.ollama.wire import read_model

#: One question each; a library of hundreds is not asked one by one.
MODELS_ASKED_MAX = 30


async def survey(host: str, timeout_s: float, proxy: Proxy | None = None) -> list[ModelFacts] | ModelFault:
    """Every model; of the first so many, smallest first, the kind too."""
    client = Exchanger(host, proxy)
    try:
        listing = await _asked(client, "GET", "/api/tags", None, timeout_s)
        if isinstance(listing, ModelFault):
            return listing
        resident = await _asked(client, "GET", "/api/ps", None, timeout_s)
        if isinstance(resident, ModelFault):
            return resident
        found = []
        for number, entry in enumerate(sorted(entries(listing), key=_size)):
            name = text_or_empty(entry.get("name"))
            shown: Mapping[str, object] | ModelFault = {}
            if number < MODELS_ASKED_MAX:
                body = {"model": name, "verbose": False}
                shown = await _asked(client, "POST", "/api/show", body, timeout_s)
            found.append(_facts(name, {} if isinstance(shown, ModelFault) else shown, resident))
        return found
    finally:
        await client.close()


async def _asked(
    client: Exchanger, method: str, path: str, body: Mapping[str, object] | None, timeout_s: float
) -> Mapping[str, object] | ModelFault:
    answered = await client.exchange(method, path, body, timeout_s)
    return answered if isinstance(answered, ModelFault | dict) else {}


def _size(entry: Mapping[str, object]) -> int:
    return count_or_none(entry.get("size"), most=BYTES_MAX) or 0


def _facts(name: str, shown: Mapping[str, object], resident: Mapping[str, object]) -> ModelFacts:
    model = read_model(name, shown)
    listed = find_listed(resident, name)
    lies = {} if listed is None else listed
    return ModelFacts(
        name=name,
        family=model.family,
        is_serial=model.is_serial,
        is_sliding=_is_sliding(shown.get("model_info")),
        is_resident=listed is not None,
        answers_chat=not model.is_remote and model.capabilities.isdisjoint({"embedding", "image"}),
        size_bytes=count_or_none(lies.get("size"), least=0, most=BYTES_MAX),
        gpu_bytes=count_or_none(lies.get("size_vram"), least=0, most=BYTES_MAX),
    )


def _is_sliding(metadata: object) -> bool:
    """`gemma3.attention.sliding_window: 512`; 0 or absent where every layer sees everything."""
    if not isinstance(metadata, dict):
        return False
    return any(key.endswith(".attention.sliding_window") and value for key, value in metadata.items())
