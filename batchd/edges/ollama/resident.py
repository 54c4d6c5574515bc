"""Resident: the model of the last load, and what the server said of it.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.model import Load, Loaded
from batchd.edges.ollama.cached import ColdRate
from batchd.edges.ollama.wire import Model


@dataclass(slots=True)
class Resident:
    """The model of the last load."""

    name: str
    listed_as: str
    model: Model
    window: int
    is_embedding: bool
    rate: ColdRate


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
