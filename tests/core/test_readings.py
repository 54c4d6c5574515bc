"""Readings: marks with hysteresis, holds that end, sleeps that are noticed, and the peaks of a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.readings import (
    CARD_MARK,
    HOLD_S_MAX,
    MEMORY_MARK,
    STRAIN_AGAIN_S,
    Card,
    Eased,
    Happened,
    Held,
    Level,
    Mark,
    Reading,
    Strained,
    Tension,
    Warned,
    Woke,
    after_reading,
    measures_of,
)

MARK = Mark(0.5, 0.7, 0.9, ease=0.1)


def card(used: int | None, total: int | None = 1_000, energy_j: float | None = None) -> Card:
    return Card("a card", "580", total, used, None, None, energy_j)


def full(share: float) -> Reading:
    """So much of the memory is used."""
    return Reading(memory_total_bytes=1_000_000, memory_free_bytes=round(1_000_000 * (1 - share)))


def story(*steps: tuple[float, Reading]) -> tuple[Tension, list[list[Happened]]]:
    """What happened at each (moment, reading)."""
    tension, told = Tension(), []
    for now, reading in steps:
        tension, happened = after_reading(tension, reading, now)
        told.append(list(happened))
    return tension, told


def kinds(told: list[list[Happened]]) -> list[list[str]]:
    return [[type(item).__name__ for item in step] for step in told]


@pytest.mark.parametrize(
    ("share", "before", "after"),
    [
        (0.49, Level.CALM, Level.CALM),
        (0.50, Level.CALM, Level.WARN),
        (0.41, Level.WARN, Level.WARN),
        (0.39, Level.WARN, Level.CALM),
        (0.70, Level.WARN, Level.HOLD),
        (0.61, Level.HOLD, Level.HOLD),
        (0.61, Level.WARN, Level.WARN),
        (0.45, Level.HOLD, Level.WARN),
        (0.90, Level.CALM, Level.SHRINK),
        (0.81, Level.SHRINK, Level.SHRINK),
        (0.79, Level.SHRINK, Level.HOLD),
    ],
)
def test_a_level_is_left_only_well_below_its_mark(share: float, before: Level, after: Level) -> None:
    assert MARK.level(share, before) is after


def test_nothing_measured_is_nothing_happened() -> None:
    assert story((0.0, Reading()), (5.0, Reading())) == (Tension(), [[], []])


def test_what_has_no_size_has_no_mark() -> None:
    cards = (card(None), card(10, None), card(10, 0))
    assert measures_of(Reading(cards, memory_total_bytes=5, group_limit_bytes=5)) == ()


def test_every_figure_has_its_words() -> None:
    reading = Reading(
        (card(800), card(10)),
        memory_total_bytes=10**9,
        memory_free_bytes=10**8,
        group_limit_bytes=4_000_000,
        group_used_bytes=1_000_000,
        stalled_share=0.25,
    )
    assert [(item.name, round(item.share, 3), item.text) for item in measures_of(reading)] == [
        ("card 0", 0.8, "800 of 1,000 MiB of GPU 0 are used"),
        ("card 1", 0.01, "10 of 1,000 MiB of GPU 1 are used"),
        ("memory", 0.9, "100 MB of 1.0 GB of memory are free"),
        ("group", 0.25, "1 MB of the 4 MB that our control group may have are used"),
        ("stall", 0.25, "programs wait for memory 25% of the time"),
    ]


def test_a_mark_is_said_once_until_it_was_left() -> None:
    _, told = story(*((n, full(share)) for n, share in enumerate((0.91, 0.92, 0.89, 0.87, 0.91))))
    assert kinds(told) == [["Warned"], [], [], [], ["Warned"]]
    assert told[0] == [Warned("90 KB of 1 MB of memory are free")]


def test_it_holds_and_goes_on_when_the_reading_is_low_again() -> None:
    tension, told = story((0, full(0.96)))
    assert kinds(told) == [["Warned", "Held"]]
    assert tension.is_held
    tension, told = story((0, full(0.96)), (5, full(0.94)), (10, full(0.925)))
    assert kinds(told[1:]) == [[], ["Eased"]]
    assert not tension.is_held


def test_no_hold_is_for_ever_and_the_governor_is_told_first() -> None:
    steps = [(0.0, full(0.96)), (HOLD_S_MAX - 1, full(0.96)), (HOLD_S_MAX, full(0.96)), (999.0, full(0.97))]
    tension, told = story(*steps)
    assert kinds(told) == [["Warned", "Held"], [], ["Strained", "Eased"], []]
    assert not tension.is_held
    *_, last = story(*steps, (1_000.0, full(0.5)), (1_005.0, full(0.96)))[1]
    assert kinds([last]) == [["Warned", "Held"]], "low in between: a new hold is a new matter"


def test_the_highest_mark_tells_the_governor_at_once_and_again_after_a_while() -> None:
    steps = [(0.0, full(0.99)), (5.0, full(0.99)), (STRAIN_AGAIN_S, full(0.99))]
    tension, told = story(*steps)
    assert kinds(told) == [["Warned", "Held", "Strained"], [], ["Strained", "Eased"]]
    assert isinstance(told[0][2], Strained)
    assert "10 KB of 1 MB" in told[0][2].text
    assert not tension.is_held


def test_the_worst_figure_is_the_reason() -> None:
    reading = Reading((card(960),), memory_total_bytes=100, memory_free_bytes=4)
    _, [happened] = story((0, reading))
    assert [item for item in happened if isinstance(item, Held)] == [
        Held("4 bytes of 100 bytes of memory are free")
    ]


def test_a_figure_that_goes_missing_holds_nothing() -> None:
    tension, told = story((0, full(0.99)), (5, Reading()))
    assert told[1] == [Eased("")]
    assert not tension.is_held


def test_a_sleep_of_the_machine_is_told_once() -> None:
    steps = [Reading(suspended_s=at) for at in (7.0, 7.1, 107.1, None, 107.2)]
    _, told = story(*enumerate(steps))
    assert kinds(told) == [[], [], ["Woke"], [], []]
    [woke] = told[2]
    assert isinstance(woke, Woke)
    assert woke.slept_s == pytest.approx(100.0)


@given(st.lists(st.floats(0.0, 1.0), max_size=60))
def test_a_hold_never_lasts_longer_than_its_limit(shares: list[float]) -> None:
    tension, held_since = Tension(), None
    for step, share in enumerate(shares):
        now = step * 5.0
        tension, _ = after_reading(tension, full(share), now)
        held_since = (now if held_since is None else held_since) if tension.is_held else None
        assert held_since is None or now - held_since < HOLD_S_MAX


def test_the_marks_are_in_order() -> None:
    for mark in (CARD_MARK, MEMORY_MARK):
        assert 0 < mark.ease < mark.warn < mark.hold < mark.shrink < 1
