"""Dealer: makes one deal from what was true at a moment, so that it may take its time in another thread.

SUMMARY
    dealt       all of it anew
    improved    some of it moved, where one slot has nothing left

    It changes nothing of what it is given. Who gave it may: then what comes of it is of no account.

DIAGNOSTICS
    None: numbers in, numbers out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchd.core.deal import Ground, Piece, Queues, Slot, cost, deal, improve


@dataclass(frozen=True, slots=True)
class Dealt:
    """What came of it for the slot that asked, when so many lines were left. `queues` None: what there is
    costs no more. `answer_tokens`: the rate that all of it was dealt with. `turn`: when it was begun."""

    queues: Queues | None
    slot: int
    left: int
    turn: int
    answer_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Dealer:
    """`queues`, `sent` (the run that was taken last) and `ahead` (answers that are owed) are by slot; `used`
    are the slots that take part, and `loose` is what no slot has."""

    ground: Ground
    queues: Queues
    loose: Sequence[Piece]
    used: Sequence[int]
    sent: Sequence[int]
    ahead: Sequence[int]

    def dealt(self, slot: int, left: int, turn: int) -> Dealt:
        """All of it anew."""
        pending = sorted([*self.loose, *(piece for queue in self.queues for piece in queue)])
        queues = self._spread(deal(self.ground, pending, self._slots(self.used)))
        slots = self._slots(range(len(self.sent)))
        is_better = self.loose or cost(self.ground, queues, slots) < cost(self.ground, self.queues, slots)
        return Dealt(queues if is_better else None, slot, left, turn, self.ground.answer_tokens)

    def improved(self, slot: int, left: int, turn: int) -> Dealt:
        """The others' deal is good: to move some of it takes a few milliseconds, to deal all a hundred."""
        pieces = [list(self.queues[number]) for number in self.used]
        improve(self.ground, pieces, self._slots(self.used))
        return Dealt(self._spread(pieces), slot, left, turn)

    def _slots(self, numbers: Sequence[int]) -> list[Slot]:
        return [Slot(self.sent[number], self.ahead[number]) for number in numbers]

    def _spread(self, queues: Queues) -> Queues:
        spread: Queues = [[] for _ in self.sent]
        for number, queue in zip(self.used, queues, strict=True):
            spread[number] = queue
        return spread
