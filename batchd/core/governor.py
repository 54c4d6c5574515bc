"""The governor: how much is asked of one model server, and what changes it.

SUMMARY
    A pure function from limits and an event to new limits. On out of memory at load: halve the slots, where
    the slots are ours; where they are not, the window cannot shrink below what the requests need, so the
    load is tried again later. Each change is a decision with its old value, new value and cause.

DIAGNOSTICS
    None: values in, decisions out.
"""

from dataclasses import dataclass, replace

from batchd.core.model import Loaded, ServerDescription


@dataclass(frozen=True, slots=True)
class Limits:
    """`slots` bounds the chunk. `owns_slots`: whether the number of slots is ours to change."""

    slots: int
    owns_slots: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A decision, as it is logged and journaled."""

    name: str
    old: str
    new: str
    cause: str


#: Of the change that a load makes; `old` is the canary's prompt tokens, which count as evaluated.
LOADED = "model_loaded"


def after_load(loaded: Loaded, server: ServerDescription, canary_tokens: int) -> Change:
    """A load is journaled like a decision, so that account and provenance of a batch outlive the daemon."""
    new = (
        f"{loaded.model} {loaded.digest} {loaded.quantization or ''}, window {loaded.window_tokens} tokens, "
        f"{loaded.slots} slots, {server.engine} {server.version}"
    )
    return Change(LOADED, str(canary_tokens), new, "the canary passed")


def after_out_of_memory(limits: Limits, cause: str) -> tuple[Limits, Change | None]:
    """Halve, floor 1. No change where there is nothing left that is ours to shrink."""
    if not limits.owns_slots or limits.slots <= 1:
        return limits, None
    slots = limits.slots // 2
    change = Change("slots_halved", str(limits.slots), str(slots), cause)
    return replace(limits, slots=slots), change
