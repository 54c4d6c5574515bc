"""Limits: what may be asked of one model server, and how a change of it is told.

SUMMARY
    `Limits` is applied to the load that somebody wishes for. `Change` is one decision, as it goes into the
    journal, the log and `metrics.json`.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass, replace

from batchd.core.model import Load, Loaded, ServerDescription


@dataclass(frozen=True, slots=True)
class Limits:
    """`slots` bounds the chunk. `owns_slots`: whether the number of slots is ours to change.

    `window_tokens`: a larger window did not fit in memory; None where none failed. `has_card`: the server's
    machine has a graphics card, so a model beside it is in the wrong place.
    """

    slots: int
    owns_slots: bool
    window_tokens: int | None = None
    has_card: bool = False

    def applied_to(self, load: Load) -> Load:
        """The load that may be asked for. Where memory was short of its window, no larger one will do."""
        window_tokens = min(load.window_tokens, self.window_tokens or load.window_tokens)
        accepts_larger = load.accepts_larger and self.window_tokens is None
        slots = min(load.slots, self.slots)
        return replace(load, slots=slots, window_tokens=window_tokens, accepts_larger=accepts_larger)


@dataclass(frozen=True, slots=True)
class Change:
    """A decision, as it is logged and journaled. `evidence`: what was seen, in the words of who said it."""

    name: str
    old: str
    new: str
    cause: str
    evidence: str = ""


#: Of the change that a load makes; `old` is the canary's prompt tokens, which count as evaluated.
LOADED = "model_loaded"

#: Of the change after which the present load is put out and made again.
RENEWED = "renewed"


def after_load(loaded: Loaded, server: ServerDescription, canary_tokens: int) -> Change:
    """A load is journaled like a decision, so that account and provenance of a batch outlive the daemon."""
    new = (
        f"{loaded.model} {loaded.digest} {loaded.quantization or ''}, window {loaded.window_tokens} tokens, "
        f"{loaded.slots} slots, {server.engine} {server.version}"
    )
    return Change(LOADED, str(canary_tokens), new, "the canary passed")
