"""Props: what a llama-server says of itself, on /props and /v1/models.

SUMMARY
    `props_of` puts the two together. The window is that of one slot.

DIAGNOSTICS
    OddReply, or any other exception, for an answer that is not a llama-server's: it is read under `guarded`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from batchd.core.json import dumps
from batchd.core.reply import OddReply, count_or_none, items, mapping, text, text_or_empty, whole

#: Of a path on this system (PATH_MAX).
_PATH_CHARS_MAX = 4_096


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
    found = mapping(props, "/props")
    models = items(mapping(listing, "the list of models").get("data"), "the list of models")
    if len(models) != 1:
        raise OddReply("it does not serve exactly one model")
    model = mapping(models[0], "the model")
    meta = mapping(model.get("meta") or {}, "meta")
    kind = found.get("model_ftype")
    path = text_or_empty(found.get("model_path"), _PATH_CHARS_MAX)
    settings = mapping(found.get("default_generation_settings"), "default_generation_settings")
    said = {"id": model.get("id"), "ftype": kind, "meta": {**meta, "n_ctx": None}}
    return Props(
        build=text_or_empty(found.get("build_info")) or "unknown",
        window_tokens=_at_least_one(settings.get("n_ctx"), "n_ctx"),
        slots=_at_least_one(found.get("total_slots"), "total_slots"),
        quantization=text_or_empty(kind) or None,
        window_tokens_max=count_or_none(meta.get("n_ctx_train")),
        template=text(found.get("chat_template") or "", "chat_template"),
        names=_names(model, path),
        fingerprint="meta:" + hashlib.sha256(dumps(said)).hexdigest(),
    )


def _names(model: Mapping[str, object], path: str) -> frozenset[str]:
    aliases = model.get("aliases")
    names = {text_or_empty(model.get("id")), PurePath(path).name, PurePath(path).stem}
    if isinstance(aliases, list):
        names.update(map(text_or_empty, aliases))
    return frozenset(names - {""})


def _at_least_one(value: object, what: str) -> int:
    found = whole(value, what)
    if not found:
        raise OddReply(f"{what} is 0")
    return found
