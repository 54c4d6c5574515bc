"""Props: what a llama-server says of itself, on /props and /v1/models.

SUMMARY
    `props_of` puts the two together. The window is that of one slot.

DIAGNOSTICS
    None raised but KeyError, TypeError and ValueError, for an answer that is not a llama-server's.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from batchd.core.json import dumps


@dataclass(frozen=True, slots=True)
class Props:
    """`names`: all that its model may be called. `fingerprint` stands in where no file can be hashed."""

    build: str
    window_tokens: int
    slots: int
    quantization: str | None
    window_tokens_max: int | None
    template: str
    names: frozenset[str]
    fingerprint: str


def props_of(props: object, listing: object) -> Props:
    """From the two answers."""
    found = _mapping(props)
    models = _mapping(listing)["data"]
    if not isinstance(models, list) or len(models) != 1:
        raise ValueError("it does not serve exactly one model")
    model = _mapping(models[0])
    meta = _mapping(model.get("meta") or {})
    trained = meta.get("n_ctx_train")
    kind = found.get("model_ftype")
    path = str(found.get("model_path") or "")
    said = {"id": model.get("id"), "ftype": kind, "meta": {**meta, "n_ctx": None}}
    return Props(
        build=str(found.get("build_info") or "unknown"),
        window_tokens=_whole(_mapping(found["default_generation_settings"])["n_ctx"]),
        slots=_whole(found["total_slots"]),
        quantization=str(kind) if kind else None,
        window_tokens_max=trained if isinstance(trained, int) else None,
        template=str(found.get("chat_template") or ""),
        names=_names(model, path),
        fingerprint="meta:" + hashlib.sha256(dumps(said)).hexdigest(),
    )


def _names(model: Mapping[str, object], path: str) -> frozenset[str]:
    aliases = model.get("aliases")
    names = {str(model["id"]), PurePath(path).name, PurePath(path).stem}
    if isinstance(aliases, list):
        names.update(map(str, aliases))
    return frozenset(names - {""})


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a whole number was expected, not {type(value).__name__}")
    return value
