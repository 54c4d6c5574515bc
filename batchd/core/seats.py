"""Seats: the numbers of the slots that take part, for those deals that keep nothing by slot.

DIAGNOSTICS
    None: a set of numbers.
"""

from collections.abc import Callable, Sequence
from itertools import count, islice

from batchd.core.dealer import Dealt
from batchd.core.lanes import Pick


class Seats:
    """Numbers from 0 on, the lowest free ones first."""

    def __init__(self) -> None:
        self._used: set[int] = set()

    def __repr__(self) -> str:
        return f"Seats({sorted(self._used)})"

    @property
    def slot_count(self) -> int:
        """Numbers of slots are below it."""
        return max(self._used, default=-1) + 1

    def join(self, slots: int) -> list[int]:
        """A server comes with so many slots; their numbers."""
        joined = list(islice((number for number in count() if number not in self._used), slots))
        self._used.update(joined)
        return joined

    def due(self, slots: Sequence[int], ahead: Sequence[int]) -> Callable[[], Dealt] | None:
        """Nothing is dealt that takes long."""
        return None

    def adopt(self, dealt: Dealt) -> None:
        """There is none."""

    def leave(self, slots: Sequence[int], unsent: Sequence[Pick] = ()) -> None:
        """A server goes."""
        self._used.difference_update(slots)
        for pick in unsent:
            self.give_back(pick)

    def give_back(self, pick: Pick) -> None:
        """It was given, and not sent. A deal that keeps lines takes it back."""
