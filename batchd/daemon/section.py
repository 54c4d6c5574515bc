"""Section: the requests of a batch that run on one load of the model, and where each of them stands.

SUMMARY
    Bookkeeping without waiting: which lines are finished, which wait for another attempt, which are suspects
    that must run alone, which need a larger window. The dispatcher moves lines between these places.

DIAGNOSTICS
    None: plain memory; the journal is the truth.
"""

import heapq
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batchd.core.model import Load
from batchd.core.record import Group
from batchd.core.retry import Decision, Next


@dataclass(slots=True)
class Section:
    """Groups that share a load, and the lines of them that left the plan's order."""

    load: Load
    groups: Sequence[Group]
    order: "array[int]"
    finished: bytearray
    counts: dict[int, tuple[int, int]]  # line -> (attempts, crashes), only of those that failed before
    again: list[tuple[float, int]] = field(default_factory=list)  # heap of (due, line)
    alone: deque[int] = field(default_factory=deque)
    too_long: list[int] = field(default_factory=list)
    window_needed: int = 0

    def __repr__(self) -> str:
        return (
            f"Section({self.load.model}, window {self.load.window_tokens}: {self.pending_count()} pending, "
            f"{len(self.again)} again, {len(self.alone)} alone, {len(self.too_long)} too long)"
        )

    def indices(self) -> Sequence[int]:
        """Every line of the section, in the order of work."""
        return [
            index
            for group in self.groups
            for index in self.order[group.start : group.start + group.count]
            if not self.finished[index]
        ]

    def pending_count(self) -> int:
        """Lines without an outcome."""
        return sum(
            not self.finished[index]
            for group in self.groups
            for index in self.order[group.start : group.start + group.count]
        )

    def is_done(self) -> bool:
        """Whether every line has its outcome."""
        return all(
            self.finished[index]
            for group in self.groups
            for index in self.order[group.start : group.start + group.count]
        )

    def adopt_suspects(self, attempts: Mapping[int, tuple[int, int]]) -> None:
        """After a restart of the daemon: lines that were present at a death of the model server run alone."""
        for index in self.indices():
            if index in attempts:
                self.counts[index] = attempts[index]
                if attempts[index][1]:
                    self.alone.append(index)

    def place(self, index: int, decision: Decision, now: float) -> None:
        """Put a line where the decision says."""
        self.counts[index] = (decision.attempts, decision.crashes)
        match decision.next:
            case Next.AGAIN:
                heapq.heappush(self.again, (now + decision.wait_s, index))
            case Next.ALONE:
                self.alone.append(index)
            case Next.REFIT:
                self.too_long.append(index)
                self.window_needed = max(self.window_needed, decision.window_tokens)
            case Next.GIVE_UP:
                del self.counts[index]

    def requeue(self, index: int, now: float) -> None:
        """An attempt that was called off: it may be sent again at once and costs nothing."""
        heapq.heappush(self.again, (now, index))

    def due(self, now: float) -> int | None:
        """A line whose wait is over, taken."""
        if self.again and self.again[0][0] <= now:
            return heapq.heappop(self.again)[1]
        return None

    def taken(self) -> bytearray:
        """One byte for each line: 1 where the plan's order must not give it any more."""
        given = bytearray(self.finished)
        for index in self.alone:
            given[index] = 1
        for index in self.too_long:
            given[index] = 1
        for _, index in self.again:
            given[index] = 1
        return given
