"""Holdings: what each owner's batches take in the house, from the claim until they are published.

SUMMARY
    At the claim a batch is its file. Once it is accepted it is its copy, its journal and its results: what
    they will take as far as its lines tell, or what they take on the disk already, whichever is more.

    `leave` is for the event loop; everything else blocks. Each change is one step on a dictionary.

DIAGNOSTICS
    Fatal: SpoolError.
"""

from collections import Counter
from collections.abc import Set
from dataclasses import replace

from batchd.core.rules import Rules
from batchd.core.settle import Seen
from batchd.core.space import bytes_to_come
from batchd.core.waiting import Holding, Original, kept_out, outgrown
from batchd.daemon.ports import Spool


class Holdings:
    """By batch."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held: dict[str, Holding] = {}

    def claimed(self, batch_id: str, file: Seen | Original) -> None:
        """It is in processing/."""
        self._held[batch_id] = Holding(file.uid, file.size_bytes, file.size_bytes)

    def accepted(self, batch_id: str, lines: int) -> None:
        """It has its copy and its journal."""
        held = self._held.get(batch_id)
        if held is not None:
            taken_bytes = held.input_bytes + bytes_to_come(lines)
            self._held[batch_id] = replace(held, taken_bytes=taken_bytes, is_accepted=True)

    def owner_of(self, batch_id: str) -> int:
        """-1: not known. For the event loop."""
        held = self._held.get(batch_id)
        return -1 if held is None else held.uid

    def leave(self, batch_id: str) -> None:
        """It is published."""
        self._held.pop(batch_id, None)

    def counts(self) -> Counter[int]:
        """Batches in the house, by owner; they are measured for what is asked next."""
        self.measure()
        return Counter(held.uid for held in list(self._held.values()))

    def measure(self) -> None:
        """Journals and results grow while a batch is at work."""
        for batch_id, held in list(self._held.items()):
            if held.is_accepted:
                taken_bytes = max(held.taken_bytes, self._spool.batch_bytes(batch_id))
                if batch_id in self._held:
                    self._held[batch_id] = replace(held, taken_bytes=taken_bytes)

    def kept_out(self, item: Seen, waiting: Set[str], rules: Rules) -> str:
        """Why a settled file must stay in the inbox for now; empty when it may come."""
        return kept_out(item, dict(self._held), waiting, rules.input_bytes_max, rules.owner_bytes_max)

    def outgrown(self, batch_id: str, original: Original, lines: int, rules: Rules) -> str:
        """Asked again at accept: why a claimed batch must wait for others of its owner; empty when not."""
        self.claimed(batch_id, original)  # as it is now: it may have grown since
        self.measure()
        needed = original.size_bytes + bytes_to_come(lines)
        return outgrown(original.uid, needed, dict(self._held), rules.owner_bytes_max)
