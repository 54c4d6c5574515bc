"""Seats: the numbers of the slots that take part, for those who deal out lines and keep nothing by slot.

DIAGNOSTICS
    None: a set of numbers.
"""

from collections.abc import Sequence
from itertools import count, islice


class Seats:
    """Numbers from 0 on, the lowest free ones first."""

    def __init__(self) -> None:
        self._used: set[int] = set()

    def __repr__(self) -> str:
        return f"Seats({sorted(self._used)})"

    @property
    def slot_count(self) -> int:
        """One more than the highest number in use."""
        return max(self._used, default=-1) + 1

    def join(self, slots: int) -> list[int]:
        """A server comes with so many slots; their numbers."""
        joined = list(islice((number for number in count() if number not in self._used), slots))
        self._used.update(joined)
        return joined

    def leave(self, slots: Sequence[int]) -> None:
        """A server goes."""
        self._used.difference_update(slots)
