"""Lanes: which request each slot works on next.

SUMMARY
    A prefix cache belongs to one slot; slots share nothing. So a slot stays with one group as long as that
    group has requests. A free slot takes the largest group that nobody has begun; when all are begun, it
    joins the one with most left for each slot on it. Then no slot idles while anything is pending, and cold
    prefills are few.

DIAGNOSTICS
    Bug: asking for a slot that does not exist.
"""

from array import array
from collections.abc import Sequence

from batchd.core.record import Group


class Lanes:
    """The runs of some groups, dealt out to slots. It is a cursor: what it gave is not given again."""

    def __init__(self, groups: Sequence[Group], order: "array[int]", finished: bytearray, slots: int) -> None:
        self._order = order
        self._finished = finished
        self._cursor = [group.start for group in groups]
        self._end = [group.start + group.count for group in groups]
        self._lane: list[int | None] = [None] * slots
        self._by_size = sorted(range(len(groups)), key=lambda group: -groups[group].count)
        self._first_fresh = 0

    def __repr__(self) -> str:
        left = sum(end - cursor for cursor, end in zip(self._cursor, self._end, strict=True))
        return f"Lanes({left} left, on {self._lane})"

    def take(self, slot: int) -> int | None:
        """The next line index for this slot, or None when nothing is pending."""
        while True:
            group = self._lane[slot]
            if group is None or self._cursor[group] >= self._end[group]:
                group = self._choose(slot)
                self._lane[slot] = group
                if group is None:
                    return None
            index = self._order[self._cursor[group]]
            self._cursor[group] += 1
            if not self._finished[index]:
                return index

    def _choose(self, slot: int) -> int | None:
        self._lane[slot] = None
        while self._first_fresh < len(self._by_size):
            group = self._by_size[self._first_fresh]
            self._first_fresh += 1
            if self._cursor[group] < self._end[group]:
                return group
        begun = {group for group in self._lane if group is not None}
        left = {group: self._end[group] - self._cursor[group] for group in begun}
        return max(
            (group for group in begun if left[group]),
            key=lambda group: left[group] / self._lane.count(group),
            default=None,
        )
