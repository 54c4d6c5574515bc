"""Naive: the pending lines in input order, whichever slot asks.

SUMMARY
    In place of `core/lanes` under the strategy of that name, to compare with: no slot is chosen for a
    beginning, none rests, and nothing is learned.

DIAGNOSTICS
    None: a cursor over memory.
"""

from array import array
from bisect import insort
from collections.abc import Sequence

from batchd.core.lanes import NoReuse, Pick
from batchd.core.model import Usage
from batchd.core.record import Group
from batchd.core.seats import Seats

#: There is one run: the file.
_RUN = 0


class Naive:
    """The pending lines of some groups. A cursor: what it gave is not given again."""

    def __init__(self, groups: Sequence[Group], order: "array[int]", finished: bytearray) -> None:
        self._pending = array(
            "I",
            sorted(
                index
                for group in groups
                for index in order[group.start : group.start + group.count]
                if not finished[index]
            ),
        )
        self._given = 0
        self._back: list[int] = []  # places that were given and not sent
        self._seats = Seats()

    def __repr__(self) -> str:
        return f"Naive({self.left} left)"

    @property
    def left(self) -> int:
        """Lines that were not given yet."""
        return len(self._pending) - self._given + len(self._back)

    @property
    def slot_count(self) -> int:
        """Numbers of slots are below it."""
        return self._seats.slot_count

    def join(self, count: int) -> list[int]:
        """A server comes with so many slots; their numbers."""
        return self._seats.join(count)

    def leave(self, slots: Sequence[int], unsent: Sequence[Pick] = ()) -> None:
        """A server goes."""
        self._seats.leave(slots)
        for pick in unsent:
            self.give_back(pick)

    def give_back(self, pick: Pick) -> None:
        """It was given, and not sent."""
        insort(self._back, pick.at)

    def take(self, slot: int, ahead: Sequence[int]) -> Pick | None:
        """The next line of the file."""
        if not self.left:
            return None
        if self._back:
            at = self._back.pop(0)
        else:
            at, self._given = self._given, self._given + 1
        return Pick(self._pending[at], _RUN, at)

    def may_help(self, slot: int, run: int, count: int) -> bool:
        """Nothing speaks against another slot."""
        return True

    def learn(self, slot: int, run: int, usage: Usage) -> NoReuse | None:
        """Nothing was expected."""
        return None
