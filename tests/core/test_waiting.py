"""Waiting: the pauses grow and end, a change is seen, a day is enough."""

from dataclasses import replace

from batchd.core.waiting import (
    PAUSE_FIRST_S,
    PAUSE_LAST_S,
    UNSETTLED_S_MAX,
    Original,
    Waiting,
    hold_unsettled,
    hold_without_room,
    is_given_up,
    is_still,
)

FRESH = Waiting("batch_1", b"a.jsonl")
FILE = Original(b"a.jsonl", 1000, (1, 2, 10, 3, 4), has_writer=False, lines=1)
GROWN = replace(FILE, signature=(1, 2, 11, 5, 6))


def test_the_pauses_double_up_to_a_minute() -> None:
    waiting, now, pauses = FRESH, 0.0, []
    for _ in range(9):
        waiting = hold_unsettled(waiting, now, FILE)
        pauses.append(waiting.look_at - now)
        now = waiting.look_at
    assert pauses[:3] == [PAUSE_FIRST_S, 2 * PAUSE_FIRST_S, 4 * PAUSE_FIRST_S]
    assert pauses[-2:] == [PAUSE_LAST_S, PAUSE_LAST_S]


def test_a_file_is_copied_at_first_sight_and_then_only_as_the_last_look_left_it() -> None:
    assert is_still(FRESH, FILE)
    held = hold_unsettled(FRESH, 0.0, FILE)
    assert is_still(held, FILE)
    assert not is_still(held, GROWN)
    assert is_still(hold_unsettled(held, 1.0, GROWN), GROWN)


def test_a_file_with_a_writer_is_not_copied() -> None:
    assert not is_still(FRESH, replace(FILE, has_writer=True))
    assert is_still(FRESH, replace(FILE, has_writer=None))


def test_a_file_that_changes_for_a_day_is_given_up_counted_from_the_first_time() -> None:
    assert not is_given_up(FRESH, 10 * UNSETTLED_S_MAX)
    held = hold_unsettled(hold_unsettled(FRESH, 5.0, FILE), 50.0, GROWN)
    assert not is_given_up(held, UNSETTLED_S_MAX)
    assert is_given_up(held, UNSETTLED_S_MAX + 5.0)


def test_who_waits_for_room_is_never_given_up() -> None:
    held = hold_without_room(hold_unsettled(FRESH, 0.0, FILE), 1.0, "full")
    assert not is_given_up(held, 10 * UNSETTLED_S_MAX)
    assert (held.reason, held.look_at) == ("full", 1.0 + 2 * PAUSE_FIRST_S)
    assert is_still(held, GROWN)


def test_the_reason_says_whether_somebody_writes() -> None:
    assert "still being written" in hold_unsettled(FRESH, 0.0, replace(FILE, has_writer=True)).reason
    assert "changed after it was claimed" in hold_unsettled(FRESH, 0.0, FILE).reason
