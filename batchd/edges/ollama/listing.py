"""The listing: what `/api/ps` says of the models in memory. Pure.

SUMMARY
    find_resident, find_listed    one model in it
    entries, listed_names         all of them
    read_loaded                   what the server holds of ours

    A model whose runner was killed is listed as if nothing had happened, so this proves no life.

DIAGNOSTICS
    None: what is odd in it counts as not told.
"""

from collections.abc import Mapping

from batchd.core.model import Load, Loaded
from batchd.core.reply import BYTES_MAX, count_or_none, text_or_empty
from batchd.edges.ollama.wire import Model, full_name


def find_resident(listing: Mapping[str, object], name: str, model: Model) -> Mapping[str, object] | None:
    """This model in what `/api/ps` says.

    Names of the same weights share a runner, which is listed under the name that loaded it (measured: 0.33),
    so where the name is not there, a model that is like it in all that is told is the same one.
    """
    like = (entry for entry in entries(listing) if _is_like(entry.get("details"), model))
    return find_listed(listing, full_name(name)) or next(like, None)


def find_listed(listing: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    """What is listed under this full name."""
    named = (entry for entry in entries(listing) if name in (entry.get("name"), entry.get("model")))
    return next(named, None)


def listed_names(listing: Mapping[str, object]) -> list[str]:
    """Who is in memory."""
    return [text_or_empty(entry.get("name")) for entry in entries(listing)]


def entries(listing: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The models in what `/api/ps` or `/api/tags` says."""
    models = listing.get("models")
    return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []


def _is_like(details: object, model: Model) -> bool:
    if not isinstance(details, dict):
        return False
    told = tuple(
        text_or_empty(details.get(key)) for key in ("family", "parameter_size", "quantization_level")
    )
    return told == (model.family, model.size, model.quantization or "")


def read_loaded(
    name: str, digest: str, listed: Mapping[str, object], load: Load, model: Model, load_s: float
) -> Loaded:
    return Loaded(
        model=name,
        digest=digest,
        quantization=model.quantization,
        window_tokens=count_or_none(listed.get("context_length")) or load.window_tokens,
        slots=load.slots,
        size_bytes=count_or_none(listed.get("size"), least=0, most=BYTES_MAX),
        gpu_bytes=count_or_none(listed.get("size_vram"), least=0, most=BYTES_MAX),
        window_tokens_max=model.window_tokens_max,
        load_s=load_s,
    )
