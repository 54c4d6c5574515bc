"""Space: what fits, what pauses, and when it goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.space import (
    FILES_OF_A_BATCH,
    FILES_RESERVE,
    OUTGROWN_FACTOR,
    REFUSED_LOOKS,
    RESULT_LINE_BYTES,
    Space,
    bytes_to_come,
    default_reserve_bytes,
    files_reserve,
    in_units,
    no_files_left,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("disk", "reserve"),
    [
        (40 * GIB, 2 * GIB),  # a twentieth
        (10 * GIB, GIB),  # at least
        (1_000 * GIB, 4 * GIB),  # at most
        (12 * 2**20, 12 * 2**17),  # an eighth of a RAM disk
        (0, 0),
    ],
)
def test_the_reserve_is_right_for_large_and_for_small_disks(disk: int, reserve: int) -> None:
    assert default_reserve_bytes(disk) == reserve


def test_it_pauses_below_the_reserve_and_goes_on_well_above_it() -> None:
    space = Space(10_000, reserve_bytes=1_000)
    states = []
    for free in (1_000, 999, 1_000, 1_499, 1_500, 1_000):
        space.measure(free)
        states.append(space.is_short)
    assert states == [False, True, True, True, False, False]


def test_the_notice_says_what_is_free_and_when_it_goes_on() -> None:
    space = Space(10**12, reserve_bytes=2 * 10**9)
    assert space.notice() == ""
    space.measure(5 * 10**8)
    assert space.notice() == (
        "the disk is short of space: 500 MB are free; make room, the work goes on above 3.0 GB"
    )


def test_a_refused_write_pauses_for_some_looks_whatever_the_numbers_say() -> None:
    space = Space(10**12, reserve_bytes=2 * 10**9)
    space.measure(10**11)
    space.refuse()
    assert space.is_short
    assert "takes nothing more, though 100.0 GB are free" in space.notice()
    states = []
    for _ in range(REFUSED_LOOKS):
        space.measure(10**11)
        states.append(space.is_short)
    assert states == [True] * (REFUSED_LOOKS - 1) + [False]
    assert space.notice() == ""


def test_a_refused_write_pauses_also_where_the_disk_does_not_say_its_size() -> None:
    space = Space(0)
    space.refuse()
    assert space.is_short


def test_a_batch_needs_its_copy_what_comes_of_it_and_the_reserve() -> None:
    space = Space(10**12, reserve_bytes=1_000)
    needed = 500 + bytes_to_come(10) + 1_000
    assert space.refusal(500, 10, needed) == ""
    assert "there is no room on the disk" in space.refusal(500, 10, needed - 1)


def test_what_others_were_promised_is_not_given_away_until_they_leave() -> None:
    space = Space(10**12, reserve_bytes=0)
    space.promise("a", 10)
    needed = 500 + bytes_to_come(20)
    assert "beside the 36 KB of other batches" in space.refusal(500, 10, needed - 1)
    assert space.refusal(500, 10, needed) == ""
    space.release("a")
    space.release("a")
    assert space.refusal(500, 10, needed - bytes_to_come(10)) == ""


def test_a_disk_that_does_not_say_its_size_pauses_nothing() -> None:
    space = Space(0)
    space.measure(0)
    assert not space.is_short
    assert space.refusal(10**12, 10**9, 0) == ""


@given(st.integers(0, 10**15))
def test_a_size_is_said_in_few_digits(size: int) -> None:
    number, unit = in_units(size).split()
    assert unit in {"bytes", "KB", "MB", "GB"}
    assert unit == "GB" or len(number) <= 4


def test_results_stand_in_the_journal_twice_and_in_the_outbox_once() -> None:
    assert bytes_to_come(2) == 2 * 3 * RESULT_LINE_BYTES


def test_what_a_whole_disk_does_not_hold_never_finds_room() -> None:
    space = Space(100_000_000, reserve_bytes=10_000_000)
    lines = 20_000  # 72 MB to come
    assert space.never(10_000_000, lines) == ""
    assert space.never(30_000_000, lines) == (
        "The batch needs 112 MB with the reserve, and the whole disk has 100 MB: hand it in in parts."
    )
    assert Space(0, reserve_bytes=10).never(10**12, lines) == ""


def test_a_batch_is_to_blame_only_for_a_disk_that_would_have_room_without_it() -> None:
    space = Space(10**9, reserve_bytes=10**8)
    promised = 10_000 + bytes_to_come(10)
    space.measure(10**8 - 1)
    assert space.is_outgrown(10**8, 10_000, 10)
    assert not space.is_outgrown(OUTGROWN_FACTOR * promised, 10_000, 10)  # within what was promised, about
    assert not space.is_outgrown(10**7, 10_000, 10)  # others filled it
    space.measure(9 * 10**8)
    assert not space.is_outgrown(10**8, 10_000, 10)  # there is room


def test_no_batch_is_to_blame_for_inodes_that_lack() -> None:
    space = Space(10**9, reserve_bytes=10**8, files=10**6)
    space.measure(10**8 - 1, 1)
    assert space.is_short
    assert not space.is_outgrown(10**8, 10_000, 10)


@pytest.mark.parametrize(
    ("files", "reserve"), [(0, 0), (40, 5), (256, FILES_RESERVE), (10**7, FILES_RESERVE)]
)
def test_the_reserve_of_inodes_leaves_a_small_file_system_some(files: int, reserve: int) -> None:
    assert files_reserve(files) == reserve


def test_it_pauses_when_inodes_are_short_and_says_so_though_bytes_are_free() -> None:
    space = Space(10**12, reserve_bytes=10**9, files=10**6)
    states = []
    for free_files in (33, 32, 31, 47, 48, None):
        space.measure(10**11, free_files)
        states.append(space.is_short)
    assert states == [False, False, True, True, False, False]
    space.measure(10**11, 3)
    assert "short of inodes: 3 more files may be made (df -i), though 100.0 GB are free" in space.notice()


def test_a_file_system_that_does_not_count_inodes_never_lacks_them() -> None:
    space = Space(10**12, reserve_bytes=10**9, files=0)
    space.measure(10**11, None)
    assert not space.is_short
    assert space.refusal(1_000, 1, 10**11) == ""
    assert no_files_left(0, 0) == ""


def test_a_batch_waits_for_the_inodes_that_its_files_need() -> None:
    space = Space(10**12, reserve_bytes=10**9, files=10**6)
    space.measure(10**11, FILES_OF_A_BATCH + FILES_RESERVE - 1)
    assert "too few inodes on the disk: it needs 16 and a reserve of 32" in space.refusal(1_000, 1, 10**11)
    space.measure(10**11, FILES_OF_A_BATCH + FILES_RESERVE)
    assert space.refusal(1_000, 1, 10**11) == ""


def test_what_a_full_disk_means_where_inodes_lack() -> None:
    assert "all inodes are used" in no_files_left(1_000, 0)
    assert no_files_left(1_000, 1) == ""
