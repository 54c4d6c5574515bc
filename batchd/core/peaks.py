"""Peaks: the highest readings in a batch's time, and what it burnt, as `metrics.json` reports them.

DIAGNOSTICS
    Bug: a meta value that `to_meta` did not write.
"""

from dataclasses import asdict, dataclass
from typing import Any

from batchd.core.json import dumps, loads
from batchd.core.readings import Reading


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest readings in a batch's time. None: never measured. Energy is of all cards together."""

    gpu_mib: tuple[int, ...] = ()  # of each card
    server_bytes: int | None = None
    stalled_share: float | None = None
    energy_j: float | None = None

    @classmethod
    def from_meta(cls, text: str | None) -> "Peaks":
        """As the journal kept them."""
        if not text:
            return cls()
        kept: dict[str, Any] = loads(text.encode())  # type: ignore[assignment]  # we wrote it
        return cls(tuple(kept.pop("gpu_mib")), **kept)

    def to_meta(self) -> str:
        """As the journal keeps them."""
        return dumps(asdict(self)).decode()

    def with_reading(self, reading: Reading, before: Reading | None) -> "Peaks":
        """With this reading in them; `before` is the one that came before it, in the same batch."""
        used = [card.used_mib or 0 for card in reading.cards]
        cards = max(len(used), len(self.gpu_mib))
        known, now = self._padded(self.gpu_mib, cards), self._padded(tuple(used), cards)
        burnt = None if before is None else _energy(before, reading)
        return Peaks(
            gpu_mib=tuple(map(max, known, now)),
            server_bytes=_larger(self.server_bytes, reading.server_bytes),
            stalled_share=_larger(self.stalled_share, reading.stalled_share),
            energy_j=self.energy_j if burnt is None else (self.energy_j or 0.0) + burnt,
        )

    def as_metrics(self) -> dict[str, object]:
        """What `metrics.json` says of them."""
        return {
            "gpu_peak_mib": list(self.gpu_mib) or None,
            "server_resident_peak_bytes": self.server_bytes,
            "stalled_share_peak": self.stalled_share,
            "energy_wh": None if self.energy_j is None else round(self.energy_j / 3_600, 3),
        }

    @staticmethod
    def _padded(values: tuple[int, ...], count: int) -> tuple[int, ...]:
        return values + (0,) * (count - len(values))


def _energy(before: Reading, after: Reading) -> float | None:
    """Joules between two readings; None where a card does not tell, or its driver was loaded anew."""
    if len(before.cards) != len(after.cards):
        return None
    burnt = [
        late.energy_j - early.energy_j
        for early, late in zip(before.cards, after.cards, strict=True)
        if early.energy_j is not None and late.energy_j is not None
    ]
    return sum(burnt) if burnt and min(burnt) >= 0 else None


def _larger(known: Any, new: Any) -> Any:
    return new if known is None else known if new is None else max(known, new)
