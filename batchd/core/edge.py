"""Edge: what is known not to hold, of one model on one server, and when it may be tried again.

SUMMARY
    Three edges. `cells` (slots times window) ran out of memory at load: less may be tried, since a load that
    fails costs nobody an answer. `slots` had the server die under requests: it is kept away from,
    at four fifths. `pace` slots were slower than fewer.

    An edge is tried again rarely: after 2,000 answers and half an hour, and each try that fails doubles both,
    up to a day.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

#: Below a number of slots that the server died under, this share is kept to.
KEPT_SHARE = 0.8

#: An edge is tried again when both have passed; each failure doubles them.
PROBE_ANSWERS = 2_000
PROBE_WAIT_S = 1_800.0
PROBE_WAIT_S_MAX = 86_400.0

#: More slots than any server has: no edge is known.
UNBOUNDED = 1 << 30


@dataclass(frozen=True, slots=True)
class Edge:
    """The smallest that failed, of each kind; None where nothing did. `at`: the latest failure or try."""

    cells: int | None = None
    slots: int | None = None
    pace: int | None = None
    at: float = 0.0
    answers: int = 0
    patience: int = 1
    is_probing: bool = False

    def slots_max(self, window_tokens: int) -> int:
        """The most slots that may be tried with this window."""
        most = UNBOUNDED
        if self.cells is not None:
            most = min(most, (self.cells - 1) // window_tokens)
        if self.slots is not None:
            most = min(most, int(KEPT_SHARE * self.slots))
        if self.pace is not None:
            most = min(most, self.pace - 1)
        return max(1, most)

    def below_cells(self, cells: int, now: float) -> "Edge":
        """A load of so many did not fit."""
        return replace(self._failed(now), cells=min(cells, self.cells or cells))

    def below_slots(self, slots: int, now: float) -> "Edge":
        """The server died with so many."""
        return replace(self._failed(now), slots=min(slots, self.slots or slots))

    def below_pace(self, slots: int, now: float) -> "Edge":
        """So many were slower than fewer."""
        return replace(self._failed(now), pace=min(slots, self.pace or slots))

    def beyond(self, slots: int, window_tokens: int) -> "Edge":
        """So many are good after all: every edge lies beyond them."""
        if slots <= self.slots_max(window_tokens):
            return self
        cells = None if self.cells is None else max(self.cells, slots * window_tokens + 1)
        died = None if self.slots is None else max(self.slots, -int(-slots // KEPT_SHARE))
        pace = None if self.pace is None else max(self.pace, slots + 1)
        return replace(self, cells=cells, slots=died, pace=pace, patience=1, is_probing=False)

    def answered(self, count: int) -> "Edge":
        """So many good answers more."""
        return replace(self, answers=self.answers + count)

    def may_probe(self, now: float) -> bool:
        """Whether it was left alone for long enough."""
        wait_s = min(PROBE_WAIT_S * self.patience, PROBE_WAIT_S_MAX)
        return self.answers >= PROBE_ANSWERS * self.patience and now - self.at >= wait_s

    def probed(self, now: float) -> "Edge":
        """It is tried now."""
        return replace(self, at=now, answers=0, is_probing=True)

    def kept(self) -> dict[str, int]:
        """What outlives the daemon; its clock does not."""
        found = {"cells": self.cells, "slots": self.slots, "pace": self.pace}
        return {name: value for name, value in found.items() if value is not None}

    def _failed(self, now: float) -> "Edge":
        patience = self.patience * 2 if self.is_probing else self.patience
        return replace(self, at=now, answers=0, patience=patience, is_probing=False)


#: Nothing has failed yet.
NO_EDGE = Edge()


def edge_of(kept: Mapping[str, int], now: float) -> Edge:
    """What an earlier life of the daemon met; it is left alone from now on, as if it had just been met."""
    return Edge(kept.get("cells"), kept.get("slots"), kept.get("pace"), at=now)
