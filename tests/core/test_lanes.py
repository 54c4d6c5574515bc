"""Lanes: every line once, few cold beginnings, and what is learned from the answers."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.kept import BROUGHT_MIN
from batchd.core.lanes import ANSWER_TOKENS, MISSES_MAX, Lanes, NoReuse
from batchd.core.model import Source, Usage
from batchd.core.record import Group

PREFIX = 400


def groups_of(sizes: list[int], prefix: int = PREFIX, shared: int = 0) -> list[Group]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [
        Group("m", "/v1", start, size, prefix, 1_000, shared)
        for start, size in zip(starts, sizes, strict=True)
    ]


def lanes(
    sizes: list[int], slots: int, finished: bytearray | None = None, prefix: int = PREFIX, shared: int = 0
) -> Lanes:
    total = sum(sizes)
    finished = bytearray(total) if finished is None else finished
    return Lanes(groups_of(sizes, prefix, shared), array("I", range(total)), finished, slots)


def worked(found: Lanes, slots: int) -> list[list[int]]:
    """All slots answer at the same pace."""
    given_out: list[list[int]] = [[] for _ in range(slots)]
    while found.left:
        ahead = [0] * slots
        for slot in range(slots):
            if (pick := found.take(slot, ahead)) is not None:
                given_out[slot].append(pick.index)
                ahead[slot] = 1
        assert any(ahead), "something is left, and every slot rests"
    return given_out


def told(cached: int | None, source: Source = Source.ENGINE, decode_s: float | None = None) -> Usage:
    return Usage(1_000, 50, cached, source, None if decode_s is None else 1.0, decode_s)


@given(
    st.lists(st.integers(1, 12), max_size=8),
    st.integers(1, 5),
    st.sampled_from([0, PREFIX, 90_000]),
    st.data(),
)
def test_every_pending_line_is_given_exactly_once(
    sizes: list[int], slots: int, prefix: int, data: st.DataObject
) -> None:
    total = sum(sizes)
    finished = bytearray(data.draw(st.lists(st.integers(0, 1), min_size=total, max_size=total)))
    given_out = worked(lanes(sizes, slots, finished, prefix), slots)
    assert sorted(index for lane in given_out for index in lane) == [
        index for index in range(total) if not finished[index]
    ]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 5))
def test_no_slot_works_longer_than_it_must_where_nothing_is_shared(sizes: list[int], slots: int) -> None:
    longest = max(len(lane) for lane in worked(lanes(sizes, slots, prefix=0), slots))
    assert longest == -(-sum(sizes) // slots)


def test_a_slot_stays_with_its_group() -> None:
    assert sorted(worked(lanes([4, 4], 2), 2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_large_group_is_spread_when_that_pays() -> None:
    assert sorted(map(len, worked(lanes([40], 4), 4))) == [10] * 4


def test_a_slot_rests_when_a_long_beginning_costs_more_than_its_help_saves() -> None:
    assert sorted(map(len, worked(lanes([6], 4, prefix=90_000), 4))) == [0, 0, 0, 6]


def test_a_group_inside_of_another_stays_beside_it() -> None:
    found = lanes([3, 3, 3, 3], 2, prefix=5_000, shared=4_900)
    found = Lanes(
        [
            *groups_of([3, 3], 5_000, 4_900),
            Group("m", "/v1", 6, 3, 5_000, 9),
            Group("m", "/v1", 9, 3, 5_000, 9, 4_900),
        ],
        array("I", range(12)),
        bytearray(12),
        2,
    )
    assert sorted(worked(found, 2)) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_what_stands_between_two_groups_is_counted_though_it_is_finished() -> None:
    """The group in the middle shared nothing with the first; it is gone, and they still share nothing."""
    groups = [
        Group("m", "/v1", 0, 1, 5_000, 9),
        Group("m", "/v1", 1, 1, 100, 9, 0),
        Group("m", "/v1", 2, 1, 5_000, 9, 90),
    ]
    found = Lanes(groups, array("I", range(3)), bytearray([0, 1, 0]), 1)
    assert found._ground.common(0, 1) == 0


def test_a_slot_that_has_nothing_left_helps_another() -> None:
    """The first slot is three times as fast as was thought."""
    found = lanes([20, 20], 2, prefix=10)
    fast: list[int] = []
    for turn in range(60):
        slot = 1 if turn % 4 == 3 else 0
        pick = found.take(slot, [0, 0])
        if pick is not None and slot == 0:
            fast.append(pick.index)
    assert len(fast) > 24
    assert found.left == 0


def test_what_is_pending_is_dealt_anew_when_slots_are_gone() -> None:
    found = lanes([6, 6, 6], 3)
    finished = bytearray(18)
    for slot in range(3):
        pick = found.take(slot, [0, 0, 0])
        assert pick is not None
        finished[pick.index] = 1
    assert sorted(map(len, worked(lanes([6, 6, 6], 2, finished), 2))) == [7, 8]


def test_the_measured_rates_decide() -> None:
    """Answers turn out to be so short that no beginning is worth reading twice."""
    found = lanes([10], 2, prefix=2_000)
    found.take(0, [0, 0])
    assert found.may_help(1, 0, 4)
    for _ in range(4):
        found.learn(0, 0, told(900, decode_s=0.01))
    assert repr(found) == "Lanes(9 left, [4, 5])"
    assert not found.may_help(1, 0, 4)
    assert found.take(1, [1, 0]) is None
    assert repr(found) == "Lanes(9 left, [9, 0])"
    found.learn(0, 0, told(None, Source.UNKNOWN, decode_s=0.01))  # teaches nothing


def test_a_beginning_that_is_never_in_its_slot_is_noticed_once() -> None:
    found = lanes([50], 1)
    said = [found.learn(0, 0, told(3)) for _ in range(20)]
    assert said[MISSES_MAX] == NoReuse(PREFIX, 3)
    assert [notice for notice in said if notice is not None] == [NoReuse(PREFIX, 3)]


def test_then_its_requests_are_spread_as_if_they_shared_nothing() -> None:
    found = lanes([6], 4, prefix=90_000)
    pick = found.take(0, [0] * 4)
    assert pick is not None
    assert found.take(1, [1, 0, 0, 0]) is None
    for _ in range(MISSES_MAX + 1):
        found.learn(0, pick.run, told(0))
    assert found.take(1, [1, 0, 0, 0]) is not None


def test_where_others_are_found_in_their_slots_only_this_one_counts_for_nothing() -> None:
    found = lanes([9, 9, 9], 3, prefix=90_000)
    for slot, cached in ((0, 80_000), (1, 0)):
        for _ in range(MISSES_MAX + 1):
            found.learn(slot, slot, told(cached))
    assert [found.may_help(2, run, 4) for run in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    "usages",
    [
        [told(0)] * MISSES_MAX,  # the first of them is cold by right
        [told(None, Source.UNKNOWN)] * 20,
        [told(0), *([told(0)] * (MISSES_MAX - 1)), told(300), *([told(0)] * (MISSES_MAX - 1))],
    ],
)
def test_what_proves_nothing_is_not_held_against_it(usages: list[Usage]) -> None:
    found = lanes([50], 1)
    assert [found.learn(0, 0, usage) for usage in usages] == [None] * len(usages)


def test_a_slot_that_held_another_group_proves_nothing() -> None:
    found = lanes([50, 50], 1)
    assert [found.learn(0, turn % 2, told(0)) for turn in range(30)] == [None] * 30


def test_its_face_says_what_is_left_for_whom() -> None:
    found = lanes([2, 3], 2)
    found.take(0, [0, 0])
    assert repr(found) in ("Lanes(4 left, [1, 3])", "Lanes(4 left, [2, 2])")
    assert ANSWER_TOKENS > PREFIX


def test_a_second_server_gets_its_part_and_what_it_did_not_send_comes_back() -> None:
    found = lanes([40, 40], prefix=300, slots=2)
    first = [found.take(slot, [0, 0]) for slot in (0, 1)]
    joined = found.join(2)
    assert joined == [2, 3]
    taken = [found.take(slot, [1, 1, 0, 0]) for slot in joined]
    assert None not in [*first, *taken]
    found.leave(joined, [pick for pick in taken if pick is not None])
    given = {pick.index for pick in first if pick is not None}
    while (pick := found.take(len(given) % 2, [0, 0, 0, 0])) is not None:
        assert pick.index not in given
        given.add(pick.index)
    assert given == set(range(80))
    assert (found.left, found.slot_count) == (0, 4)
    assert found.join(1) == [2]


def test_servers_that_read_side_by_side_spread_a_group_that_one_would_keep_together() -> None:
    """Four answers are worth a beginning of 3,000 tokens only where two servers read it at the same time."""
    spread = []
    for servers in (1, 2):
        found = lanes([8], prefix=3_200, slots=1)
        if servers == 2:
            found.join(1)
        spread.append(found.may_help(1, 0, 4) if servers == 2 else found.may_help(0, 0, 4))
    assert spread == [False, True]


def visited(found: Lanes, run: int, cached: int) -> None:
    """The run in slot 0, which had another one in between."""
    found.learn(0, run, told(cached))
    found.learn(0, (run + 1) % 2, told(0, Source.UNKNOWN))


def test_a_server_that_brings_beginnings_from_memory_into_any_slot_is_noticed() -> None:
    """Then a slot that never had a beginning helps, where it rested before."""
    found = lanes([9, 9, 9], 3, prefix=90_000)
    assert not found.may_help(2, 0, 4)
    visited(found, 0, 0)  # read for the first time: cold by right
    for _ in range(BROUGHT_MIN):
        assert not found.may_help(2, 0, 4)
        visited(found, 0, 80_000)
    assert found.may_help(2, 0, 4)
    assert not found.may_help(2, 2, 4), "no slot has read this one"


def test_and_when_its_memory_is_too_small_that_is_noticed_too() -> None:
    found = lanes([9, 9, 9], 3, prefix=90_000)
    for cached in [0, *[80_000] * BROUGHT_MIN, 0, 0]:
        visited(found, 0, cached)
    assert not found.may_help(2, 0, 4)


def test_what_a_server_had_in_memory_is_gone_with_it() -> None:
    found = lanes([9, 9, 9], 3, prefix=90_000)
    for cached in [0, *[80_000] * BROUGHT_MIN]:
        visited(found, 0, cached)
    found.leave([0, 1, 2])
    found.join(3)
    assert not found.may_help(2, 0, 4)


@pytest.mark.parametrize("source", [Source.UNKNOWN, Source.ESTIMATE])
def test_where_the_counts_are_not_told_slots_are_thought_to_share_nothing(source: Source) -> None:
    found = lanes([9, 9, 9], 3, prefix=90_000)
    for _ in range(20):
        found.learn(0, 0, told(80_000, source))
        found.learn(0, 1, told(80_000, source))
    assert not found.may_help(2, 0, 4)


def test_the_memory_of_one_server_is_not_that_of_another() -> None:
    found = lanes([9, 9, 9], 2, prefix=90_000)
    found.join(1)
    for cached in [0, *[80_000] * (2 * BROUGHT_MIN)]:
        visited(found, 0, cached)
    assert not found.may_help(2, 0, 1)


def test_what_the_slot_held_itself_proves_no_memory() -> None:
    """Two groups inside of another: most of the second one's beginning is that of the first."""
    found = lanes([9, 9, 9], 3, prefix=90_000, shared=80_000)
    for cached in [0, *[80_000] * 20]:
        visited(found, 0, cached)
    assert not found._ground.kept


def test_lines_are_given_once_also_where_everything_is_kept() -> None:
    found = lanes([40, 2, 2], 4, prefix=90_000)
    for cached in [0, *[80_000] * BROUGHT_MIN]:
        visited(found, 0, cached)
    given_out = worked(found, 4)
    assert sorted(index for lane in given_out for index in lane) == list(range(44))
    assert max(map(len, given_out)) < 40, "the long one is spread, for its beginning costs no slot anything"
