"""Rota: whose batch is next when one ends.

SUMMARY
    Owners take turns: of those who wait, whoever was served longest ago, or never. Batches of one owner keep
    their order. What was at work when the daemon ended goes on first. `priority` comes before none of this.

    `as_bytes` and `parse` keep it over restarts; what cannot be read is a rota without a past.

DIAGNOSTICS
    None: values in, a choice out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchd.core.json import dumps, loads

#: Owners that are remembered: members of the submit group are few.
OWNERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Rota:
    """`served`: user ids, the one whose batch began last at the end. `at_work`: that batch."""

    served: tuple[int, ...] = ()
    at_work: str = ""

    def choose(self, waiting: Sequence[tuple[str, int]]) -> str | None:
        """Of (batch id, owner) in the order in which they came; None of none."""
        if not waiting:
            return None
        if self.at_work in [batch_id for batch_id, _ in waiting]:
            return self.at_work
        ranks = {owner: rank for rank, owner in enumerate(self.served)}
        return min(waiting, key=lambda item: ranks.get(item[1], -1))[0]  # of equals the first

    def begun(self, batch_id: str, owner: int) -> "Rota":
        """It has its turn."""
        others = tuple(item for item in self.served if item != owner)
        return Rota((*others[-(OWNERS_MAX - 1) :], owner), batch_id)

    def ended(self) -> "Rota":
        """It is published, or paused: it has no right to be next any more."""
        return Rota(self.served)

    def as_bytes(self) -> bytes:
        """What is kept."""
        return dumps({"served": list(self.served), "at_work": self.at_work})


def parse(raw: bytes) -> Rota:
    """What was kept."""
    try:
        value = loads(raw)
    except ValueError:
        return Rota()
    if not isinstance(value, dict) or not isinstance(value.get("served"), list):
        return Rota()
    served = [item for item in value["served"] if isinstance(item, int) and not isinstance(item, bool)]
    at_work = value.get("at_work")
    return Rota(tuple(dict.fromkeys(served))[-OWNERS_MAX:], at_work if isinstance(at_work, str) else "")
