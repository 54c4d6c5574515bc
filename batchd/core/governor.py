"""The governor: how much is asked of one model server, and what changes it.

SUMMARY
    A pure function from limits and an event to new limits. On out of memory at load, in this order: halve the
    slots, where the slots are ours; go back to the largest window that was loaded before; halve the window,
    as long as some request could still run in it. Where nothing is left to shrink, the memory is somebody
    else's for now: the load is tried again later, as it was. Each change is a decision with its old value,
    new value and cause.

DIAGNOSTICS
    None: values in, decisions out.
"""

from dataclasses import dataclass, replace

from batchd.core.fit import round_up
from batchd.core.model import Load, Loaded, ServerDescription


@dataclass(frozen=True, slots=True)
class Limits:
    """`slots` bounds the chunk. `owns_slots`: whether the number of slots is ours to change.

    `window_tokens`: a larger window did not fit in memory; None where none failed.
    """

    slots: int
    owns_slots: bool
    window_tokens: int | None = None

    def applied_to(self, load: Load) -> Load:
        """The load that may be asked for."""
        window_tokens = min(load.window_tokens, self.window_tokens or load.window_tokens)
        return replace(load, slots=min(load.slots, self.slots), window_tokens=window_tokens)


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


def after_out_of_memory(
    limits: Limits, load: Load, fitted: Load | None, window_tokens_min: int, cause: str
) -> tuple[Limits, Change | None]:
    """Shrink, or no change where nothing is left to shrink.

    `load` did not fit; `fitted` did before (same model). Below `window_tokens_min` no waiting request fits.
    """
    if limits.owns_slots and load.slots > 1:
        slots = load.slots // 2
        return replace(limits, slots=slots), Change("slots_halved", str(load.slots), str(slots), cause)
    slots, window_tokens = limits.slots, round_up(load.window_tokens // 2)
    if fitted is not None and window_tokens <= fitted.window_tokens:
        slots, window_tokens = fitted.slots, fitted.window_tokens
    # What fitted once and does not now is not too large: the memory is taken, and may come back.
    if not window_tokens_min <= window_tokens < load.window_tokens:
        return limits, None
    change = Change("window_reduced", str(load.window_tokens), str(window_tokens), cause)
    return replace(limits, slots=slots, window_tokens=window_tokens), change
