"""The listing: what `/api/ps` says of the models in memory. Pure.

SUMMARY
    find_resident, find_listed    one model in it
    listed_names                  all of them
    read_loaded                   what the server holds of ours

    A model whose runner was killed is listed as if nothing had happened, so this proves no life.

DIAGNOSTICS
    None.
"""

from collections.abc import Mapping

from batchd.core.model import Load, Loaded
from batchd.edges.ollama.wire import Model, full_name


def find_resident(listing: Mapping[str, object], name: str, model: Model) -> Mapping[str, object] | None:
    """This model in what `/api/ps` says.

    Names of the same weights share a runner, which is listed under the name that loaded it (measured: 0.33),
    so where the name is not there, a model that is like it in all that is told is the same one.
    """
    like = (entry for entry in _entries(listing) if _is_like(entry.get("details"), model))
    return find_listed(listing, full_name(name)) or next(like, None)


def find_listed(listing: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    """What is listed under this full name."""
    named = (entry for entry in _entries(listing) if name in (entry.get("name"), entry.get("model")))
    return next(named, None)


def listed_names(listing: Mapping[str, object]) -> list[str]:
    """Who is in memory."""
    return [str(entry.get("name", "")) for entry in _entries(listing)]


def _entries(listing: Mapping[str, object]) -> list[Mapping[str, object]]:
    models = listing.get("models")
    return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []


def _is_like(details: object, model: Model) -> bool:
    if not isinstance(details, dict):
        return False
    told = tuple(details.get(key) for key in ("family", "parameter_size", "quantization_level"))
    return told == (model.family, model.size, model.quantization)


def read_loaded(
    name: str, digest: str, listed: Mapping[str, object], load: Load, model: Model, load_s: float
) -> Loaded:
    window, size, gpu = (listed.get(key) for key in ("context_length", "size", "size_vram"))
    return Loaded(
        model=name,
        digest=digest,
        quantization=model.quantization,
        window_tokens=window if isinstance(window, int) else load.window_tokens,
        slots=load.slots,
        size_bytes=size if isinstance(size, int) else None,
        gpu_bytes=gpu if isinstance(gpu, int) else None,
        window_tokens_max=model.window_tokens_max,
        load_s=load_s,
    )
