"""Segments: which turn of which conversation each slot works on next, and where each conversation stands.

SUMMARY
    In place of `core/lanes` under the strategy `conversation`. A segment is a run of the order of work that
    one slot works through, line by line: a line is given only when the one before it has its outcome.
    Segments of one chat, and of other chats, run in other slots beside it.

    A line that cannot run now (it waits for a larger window, or is a suspect of a death) holds up its segment
    alone: that rests, and its slot goes on with another one.

    `state` is what a restart needs, as numbers: the journal keeps it, and with the answers that the journal
    has, the same conversations are built again.

DIAGNOSTICS
    Bug: AssertionError for a line that was not given.
"""

from array import array
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from batchd.core.conversation import Exchange
from batchd.core.lanes import NoReuse, Pick
from batchd.core.model import Usage
from batchd.core.record import Group
from batchd.core.seats import Seats

#: Lanes tell runs apart to learn of slots; here nothing is learned.
_RUN = 0


@dataclass(slots=True)
class Segment:
    """A conversation. Numbers are places in the order of work; what is between `kept` and `at` is read."""

    group: int
    begin: int  # its first line
    end: int  # after its last line
    kept: int  # the first line after the last trim's keep
    trimmed: int  # the line before which it was trimmed last
    at: int  # the line that is next, or is being answered
    exchanges: list[Exchange] = field(default_factory=list)  # those since `kept`, and some that come later

    def said(self, place: int) -> list[Exchange]:
        """What the line there reads."""
        return [exchange for exchange in self.exchanges if self.kept <= exchange.at < place]

    def add(self, exchange: Exchange) -> None:
        """In its place: one that failed and was tried again comes after those behind it."""
        insort(self.exchanges, exchange, key=attrgetter("at"))

    @property
    def numbers(self) -> list[int]:
        """Without what follows from the outcomes."""
        return [self.begin, self.end, self.kept, self.trimmed]


class Segments(Seats):
    """The conversations of one section. `is_done`: whether the line has its outcome."""

    def __init__(
        self,
        groups: Sequence[Group],
        order: "array[int]",
        is_done: Callable[[int], bool],
        state: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self._groups = groups
        self._starts = [group.start for group in groups]
        self._stop = groups[-1].start + groups[-1].count
        self._order = order
        self._is_done = is_done
        head, *numbers = state or [[groups[0].start]]
        self._next = head[0]
        self.open = [self._segment(*four) for four in numbers]
        self._at_slot: dict[int, Segment] = {}
        self._given: set[int] = set()
        self._unopened = 0  # pending lines that are in no segment yet
        self._is_stuck: Callable[[int], bool] = lambda index: False
        self._size_of: Callable[[int, int], int] = lambda group, at: 1

    def __repr__(self) -> str:
        return f"Segments({len(self.open)} open, {self._stop - self._next} lines in none)"

    @property
    def state(self) -> list[list[int]]:
        """What a restart needs."""
        return [[self._next], *(segment.numbers for segment in self.open)]

    def deal(
        self,
        given: Collection[int],
        is_stuck: Callable[[int], bool],
        size_of: Callable[[int, int], int],
    ) -> None:
        """Begin with empty slots. `given`: lines that come to the slots by another way.

        `is_stuck`: whether a line cannot be given now. `size_of`: the requests of a segment
        of this group that begins at this place.
        """
        self._given, self._is_stuck, self._size_of = set(given), is_stuck, size_of
        self._at_slot.clear()
        self._unopened = self._pending(range(self._next, self._stop))

    def leave(self, slots: Sequence[int], unsent: Sequence[Pick] = ()) -> None:
        """Its conversations go on in other slots."""
        for slot in slots:
            self._at_slot.pop(slot, None)
        super().leave(slots, unsent)

    def give_back(self, pick: Pick) -> None:
        """It was given, and not sent."""
        self._given.discard(pick.index)

    @property
    def left(self) -> int:
        """Lines that may still be given, at most; 0: none will be, as things stand."""
        return (0 if self._is_closed() else self._unopened) + sum(map(self._left_of, self.open))

    def take(self, slot: int, ahead: Sequence[int]) -> Pick | None:
        """The next line for this slot; None when there is none, or the one before it is not answered yet."""
        while (segment := self._segment_at(slot)) is not None:
            self._advance(segment)
            if segment.at == segment.end:
                self.open.remove(segment)
                del self._at_slot[slot]
                continue
            index = self._order[segment.at]
            if self._is_stuck(index):
                del self._at_slot[slot]  # it rests, until a slot has nothing else to do
                continue
            if index in self._given:
                return None
            self._given.add(index)
            return Pick(index, _RUN, segment.at)
        return None

    def may_help(self, slot: int, run: int, count: int) -> bool:
        """A segment stays in its slot."""
        return False

    def learn(self, slot: int, run: int, usage: Usage) -> NoReuse | None:
        """What a slot holds follows from its conversation."""
        return None

    def find(self, index: int) -> tuple[Segment, int] | None:
        """The conversation that this line is a turn of, and its place; it is next, but for what came back."""
        for segment in self.open:
            self._advance(segment)
            for place in range(segment.begin, segment.end):
                if self._order[place] == index:
                    return segment, place
        return None

    def begin_anew(self, segment: Segment) -> None:
        """A conversation of its own, from the line on that is next."""
        at = segment.at
        segment.begin = segment.kept = segment.trimmed = at
        segment.exchanges = [exchange for exchange in segment.exchanges if exchange.at >= at]
        end = min(at + self._size_of(segment.group, at), self._stop_of(segment.group))
        if segment.end == self._next and end > self._next:  # no other segment follows it yet
            self._unopened -= self._pending(range(self._next, end))
            segment.end = self._next = end

    def index_at(self, place: int) -> int:
        """The line there."""
        return self._order[place]

    def _segment(self, begin: int, end: int, kept: int, trimmed: int) -> Segment:
        group = bisect_right(self._starts, begin) - 1
        segment = Segment(group, begin, end, kept, trimmed, begin)
        self._advance(segment)
        return segment

    def _advance(self, segment: Segment) -> None:
        while segment.at < segment.end and self._is_done(self._order[segment.at]):
            segment.at += 1

    def _segment_at(self, slot: int) -> Segment | None:
        if slot not in self._at_slot:
            held = [id(segment) for segment in self._at_slot.values()]
            waiting = (it for it in self.open if id(it) not in held and not self._rests(it))
            segment = next(waiting, None) or self._begun()
            if segment is None:
                return None
            self._at_slot[slot] = segment
        return self._at_slot[slot]

    def _rests(self, segment: Segment) -> bool:
        self._advance(segment)
        return segment.at < segment.end and self._is_stuck(self._order[segment.at])

    def _is_closed(self) -> bool:
        """Whether no segment can be begun."""
        while self._next < self._stop and self._is_done(self._order[self._next]):
            self._next += 1
        return self._next == self._stop or self._is_stuck(self._order[self._next])

    def _begun(self) -> Segment | None:
        """A new segment of the lines that are in none."""
        if self._is_closed():
            return None
        start = self._next
        group = bisect_right(self._starts, start) - 1
        end = min(start + self._size_of(group, start), self._stop_of(group))
        self._unopened -= self._pending(range(start, end))
        self._next = end
        segment = Segment(group, start, end, start, start, start)
        self.open.append(segment)
        return segment

    def _stop_of(self, group: int) -> int:
        return self._groups[group].start + self._groups[group].count

    def _pending(self, places: range) -> int:
        return sum(not self._is_done(self._order[place]) for place in places)

    def _left_of(self, segment: Segment) -> int:
        if self._rests(segment) or segment.at == segment.end:
            return 0
        return segment.end - segment.at - (self._order[segment.at] in self._given)
