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


class Naive(Seats):
    """The pending lines of some groups. A cursor: what it gave is not given again."""

    def __init__(self, groups: Sequence[Group], order: "array[int]", finished: bytearray) -> None:
        super().__init__()
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

    def __repr__(self) -> str:
        return f"Naive({self.left} left)"

    @property
    def left(self) -> int:
        """Lines that were not given yet."""
        return len(self._pending) - self._given + len(self._back)

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
