"""Segments: each line once, in its order, one at a time in a conversation."""

from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.model import Source, Usage
from batchd.core.record import Group
from batchd.core.segments import Segments


class Work:
    """Chats of these sizes, in slots that answer one line after the other."""

    def __init__(self, sizes: Sequence[int], state: Sequence[Sequence[int]] = (), done: Sequence[int] = ()):
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        self.groups = [
            Group("m", "/v1", start, size, 0, 9) for start, size in zip(starts, sizes, strict=True)
        ]
        self.done = set(done)
        self.stuck: set[int] = set()
        total = sum(sizes)
        self.segments = Segments(self.groups, array("I", range(total)), self.done.__contains__, state)

    def deal(self, size: int, given: Sequence[int] = ()) -> None:
        self.segments.deal(given, self.stuck.__contains__, lambda group, at: size)

    def take(self, slot: int) -> int | None:
        pick = self.segments.take(slot, ())
        return None if pick is None else pick.index

    def worked(self, slots: int) -> list[list[int]]:
        """By slot, until nothing is left."""
        found: list[list[int]] = [[] for _ in range(slots)]
        for _ in range(1_000):
            taken = [(slot, self.take(slot)) for slot in range(slots)]
            for slot, index in taken:
                if index is not None:
                    found[slot].append(index)
                    self.done.add(index)
            if not self.segments.left:
                return found
        raise AssertionError(f"never at an end: {self.segments}")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 5), st.data())
def test_every_pending_line_is_given_once_and_a_segment_in_order(
    sizes: list[int], slots: int, size: int, data: st.DataObject
) -> None:
    total = sum(sizes)
    done = data.draw(st.sets(st.integers(0, total - 1)))
    work = Work(sizes, done=sorted(done))
    work.deal(size)
    found = work.worked(slots)
    given_out = [index for run in found for index in run]
    assert sorted(given_out) == [index for index in range(total) if index not in done]
    assert all(run == sorted(run) for run in found)


def test_the_next_line_waits_for_the_one_before_it() -> None:
    work = Work([3])
    work.deal(9)
    assert work.take(0) == 0
    assert [work.take(0), work.take(1)] == [None, None]
    assert work.segments.left == 2
    work.done.add(0)
    assert work.take(0) == 1
    assert work.segments.left == 1


def test_segments_of_one_chat_run_side_by_side_and_nobody_helps() -> None:
    work = Work([6])
    work.deal(2)
    assert [work.take(slot) for slot in range(4)] == [0, 2, 4, None]
    assert not work.segments.may_help(3, 0, 2)
    assert work.segments.learn(0, 0, Usage(9, 1, 0, Source.ENGINE, None, None)) is None


def test_what_comes_to_the_slots_another_way_is_waited_for() -> None:
    work = Work([3])
    work.deal(9, given=[0])
    assert work.take(0) is None
    work.done.add(0)
    assert work.take(0) == 1


def test_a_line_that_cannot_run_now_lets_its_segment_rest() -> None:
    work = Work([4])
    work.deal(2)
    assert work.take(0) == 0
    work.stuck.add(0)
    assert work.take(0) == 2, "the other segment"
    work.done.add(2)
    assert work.take(0) == 3
    work.done.add(3)
    assert work.take(0) is None
    assert work.segments.left == 0
    work.stuck.clear()
    work.deal(2)
    assert work.worked(1) == [[0, 1]]


def test_a_line_that_cannot_run_now_begins_no_segment() -> None:
    work = Work([2])
    work.stuck.update((0, 1))
    work.deal(1)
    assert work.take(0) is None
    assert (work.segments.left, work.segments.open) == (0, [])


def test_a_segment_that_ends_early_leaves_its_lines_to_a_new_one() -> None:
    work = Work([9])
    work.deal(4)
    for index in (0, 1):
        assert work.take(0) == index
        work.done.add(index)
    [segment] = work.segments.open
    assert work.segments.find(2) == (segment, 2)
    assert work.segments.find(7) is None
    work.segments.begin_anew(segment)
    # No other segment follows it, so it is as long as any.
    assert segment.numbers == [2, 6, 2, 2]
    assert work.take(1) == 6
    work.segments.begin_anew(segment)
    assert segment.numbers == [2, 6, 2, 2]
    work.done.add(6)
    assert work.worked(2) == [[2, 3, 4, 5], [7, 8]]


@given(st.integers(0, 12), st.integers(1, 5), st.integers(1, 3))
def test_after_a_restart_segments_stand_as_they_stood(answered: int, size: int, slots: int) -> None:
    work = Work([7, 5])
    work.deal(size)
    count = 0
    while count < answered:
        for slot in range(slots):
            index = work.take(slot)
            if index is not None and count < answered:
                work.done.add(index)
                count += 1
    again = Work([7, 5], work.segments.state, sorted(work.done))
    assert again.segments.state == work.segments.state
    assert [segment.at for segment in again.segments.open] == [
        max(
            segment.begin,
            next((at for at in range(segment.begin, segment.end) if at not in work.done), segment.end),
        )
        for segment in work.segments.open
    ]
    again.deal(size)
    again.worked(slots)
    assert again.done == set(range(12))


def test_repr_says_what_is_open() -> None:
    work = Work([4])
    work.deal(3)
    work.take(0)
    assert repr(work.segments) == "Segments(1 open, 1 lines in none)"


def test_a_server_that_leaves_gives_its_conversations_and_what_it_did_not_send_to_others() -> None:
    work = Work([6])
    work.deal(6)
    segments = work.segments
    assert (segments.join(2), segments.join(1), segments.slot_count) == ([0, 1], [2], 3)
    pick = segments.take(0, ())
    assert pick is not None
    assert segments.take(2, ()) is None, "one conversation is in one slot"
    segments.leave([0, 1], [pick])
    given_out = []
    while segments.left:
        index = work.take(2)
        assert index is not None
        given_out.append(index)
        work.done.add(index)
    assert given_out == list(range(6))
    assert segments.join(3) == [0, 1, 3]
