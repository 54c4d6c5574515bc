from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core import packing
from batchd.core.curve import Curve
from batchd.core.fault import Category
from batchd.core.record import Event, Group, LineRow, LineState, LineStatus, Progress, Share, Spent
from batchd.errors import DamagedJournalError, JournalError

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
times = st.floats(0, 1e12)
texts = st.text(max_size=40)
spent = st.builds(Spent, u64, u64, u64, times, times, u64, u64, u64, u64)
progress = st.builds(Progress, u64, u64, u64, spent, st.dictionaries(texts, u64, max_size=4), times)


@given(u64, u64)
def test_keys_sort_as_their_lines_do(one: int, other: int) -> None:
    assert (packing.pack_key(one) < packing.pack_key(other)) == (one < other)
    assert packing.unpack_key(packing.pack_key(one)) == one


@given(st.builds(LineRow, u64, u32, u32, st.integers(-1, 2**31 - 1), u32))
def test_the_place_of_a_line_comes_back(row: LineRow) -> None:
    assert packing.unpack_row(packing.pack_row(row)) == row


@given(st.builds(LineState, st.sampled_from(LineStatus), u32, u32, st.none() | st.sampled_from(Category)))
def test_the_state_of_a_line_comes_back(state: LineState) -> None:
    assert packing.unpack_state(packing.pack_state(state)) == state


def test_the_status_is_the_first_byte_of_a_state() -> None:
    for status in LineStatus:
        assert packing.pack_state(LineState(status, 3, 1, None))[0] == status


def test_every_category_can_be_packed() -> None:
    packed = {packing.pack_state(LineState(LineStatus.FAILED, 1, 0, category)) for category in Category}
    assert len(packed) == len(Category)


def test_the_numbers_on_disk_never_change() -> None:
    state = LineState(LineStatus.FAILED, 2, 1, Category.CANCELLED)
    assert packing.pack_state(state).hex() == "0200000002000000010b"
    assert packing.pack_result(7, b"{}", is_error=True).hex() == "010115ed4ede7b7d"
    assert packing.custom_id_key("request-1").hex() == "48fa11119c11f0a8e394aab0ce42843b"


@given(u64, st.binary(max_size=2000), st.booleans())
def test_a_result_comes_back_verbatim(index: int, line: bytes, is_error: bool) -> None:
    value = packing.pack_result(index, line, is_error)
    assert packing.unpack_result(index, value) == (is_error, line)


def test_a_long_result_is_kept_small_and_a_short_one_as_it_is() -> None:
    assert len(packing.pack_result(0, b"a" * 4000, is_error=False)) < 200
    assert packing.pack_result(0, b"a" * 100, is_error=False).endswith(b"a" * 100)


def test_a_result_that_would_grow_is_kept_as_it_is() -> None:
    noise = bytes((17 * n * n + 31 * n + n // 7 * 113) % 256 for n in range(512))
    value = packing.pack_result(0, noise, is_error=False)
    assert len(value) <= len(noise) + 6
    assert packing.unpack_result(0, value) == (False, noise)


@pytest.mark.parametrize("line", [b'{"id":"x"}', b"a long line " * 100])
def test_no_flipped_bit_changes_a_result_unnoticed(line: bytes) -> None:
    value = packing.pack_result(41, line, is_error=False)
    noticed = 0
    for bit in range(8 * len(value)):
        broken = bytearray(value)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            assert packing.unpack_result(41, bytes(broken)) == (False, line)
        except JournalError as error:
            assert "line index 41" in str(error)  # noqa: PT017  # either is right, and nothing else is
            noticed += 1
    assert noticed >= 8 * len(value) - 7  # a compressed stream ends with up to seven bits of padding


def test_a_result_cannot_pass_as_another_lines() -> None:
    with pytest.raises(JournalError):
        packing.unpack_result(2, packing.pack_result(1, b"{}", is_error=False))


@given(progress)
def test_counters_come_back(counters: Progress) -> None:
    assert packing.unpack_progress(packing.pack_progress(counters)) == counters


def test_a_counter_that_came_later_is_not_in_an_older_row() -> None:
    counters = Progress(9, 1, 2, Spent(prompt_tokens=3, lowered_answers=4), {"oom": 5}, 6.0)
    older = packing.pack_progress(replace(counters, spent=Spent(prompt_tokens=3)))
    assert b"lowered_answers" not in older
    assert packing.unpack_progress(older).spent == Spent(prompt_tokens=3)
    assert packing.unpack_progress(packing.pack_progress(counters)) == counters


@given(st.builds(Group, texts, texts, u64, u64, u64, u64, u64, u32, u64))
def test_a_group_comes_back(group: Group) -> None:
    assert packing.unpack_group(packing.pack_group(group)) == group


@given(st.lists(u32, max_size=50))
def test_the_order_comes_back(order: list[int]) -> None:
    assert list(packing.unpack_order(packing.pack_order(array("I", order)))) == order


def test_a_long_order_is_cut_into_big_endian_blocks() -> None:
    blocks = list(packing.pack_order(array("I", range(packing.ORDER_BLOCK + 2))))
    assert [len(block) for block in blocks] == [4 * packing.ORDER_BLOCK, 8]
    assert blocks[1] == packing.ORDER_BLOCK.to_bytes(4) + (packing.ORDER_BLOCK + 1).to_bytes(4)
    assert list(packing.unpack_order(blocks)) == list(range(packing.ORDER_BLOCK + 2))


@given(st.builds(Event, times, texts, texts, texts, texts, texts))
def test_an_event_comes_back(event: Event) -> None:
    assert packing.unpack_event(packing.pack_event(event)) == event


def test_an_event_of_the_first_journals_has_no_evidence() -> None:
    whole = packing.pack_event(Event(1.0, "shrink", "4", "2", "memory", ""))
    assert packing.unpack_event(whole[:-4]) == Event(1.0, "shrink", "4", "2", "memory")


def test_custom_ids_of_any_length_and_letter_have_keys_of_their_own() -> None:
    keys = {packing.custom_id_key(custom_id) for custom_id in ("", "a", "a" * 600, "ä", "\ud800")}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {16}


@given(st.builds(Share, u64, u64, u64, u64, u64, times))
def test_a_share_comes_back(share: Share) -> None:
    assert packing.unpack_share(packing.pack_share(share)) == share


@given(times, times, st.lists(u32, max_size=9))
def test_the_pace_comes_back(started_at: float, step_s: float, answers: list[int]) -> None:
    pace = Curve(started_at, step_s, tuple(answers))
    assert packing.unpack_curve(packing.pack_curve(pace)) == pace


@given(st.text(st.characters(exclude_categories=["Cs"])), u32)
def test_a_copy_comes_back(custom_id: str, number: int) -> None:
    assert packing.unpack_copy(packing.pack_copy(custom_id, number)) == (custom_id, number)


def test_a_copy_with_a_broken_custom_id_is_an_error() -> None:
    with pytest.raises(JournalError, match="copy"):
        packing.unpack_copy(packing.pack_copy("ä", 1)[:-1])


def test_a_row_that_was_cut_short_is_an_error_and_no_guess() -> None:
    row = LineRow(1, 2, 3, 4, 5)
    group = Group("m", "/v1/chat/completions", 0, 1, 2, 3)
    event = Event(1.0, "shrink", "4", "2", "out of memory")
    counters = Progress(3, 1, 1, Spent(), {"oom": 1}, 2.0)
    for unpack, value in (
        (packing.unpack_key, packing.pack_key(1)),
        (packing.unpack_row, packing.pack_row(row)),
        (packing.unpack_state, packing.pack_state(LineState(LineStatus.PENDING, 1, 0, None))),
        (packing.unpack_group, packing.pack_group(group)),
        (packing.unpack_event, packing.pack_event(event)),
        (packing.unpack_share, packing.pack_share(Share(1))),
        (packing.unpack_curve, packing.pack_curve(Curve(1.0, 1.0, (1,)))),
        (packing.unpack_progress, packing.pack_progress(counters)),
        (lambda value: packing.unpack_result(0, value), packing.pack_result(0, b"", is_error=False)),
    ):
        for length in (len(value) - 1, 1):
            with pytest.raises(JournalError, match="cannot be read"):
                unpack(value[:length])
    with pytest.raises(JournalError, match="order"):
        packing.unpack_order([b"\0\0\0\1\0"])


def test_a_state_with_an_unknown_number_is_an_error() -> None:
    good = packing.pack_state(LineState(LineStatus.PENDING, 1, 0, None))
    for broken in (b"\x09" + good[1:], good[:-1] + b"\xff"):
        with pytest.raises(JournalError):
            packing.unpack_state(broken)


def test_an_event_of_a_server_without_a_name_is_packed_as_ever() -> None:
    event = Event(1.0, "n", "o", "w", "c", "e")
    assert packing.unpack_event(packing.pack_event(replace(event, server="gpu:0"))).server == "gpu:0"
    packed = packing.pack_event(replace(event, server="gpu:0"))
    assert packed.startswith(packing.pack_event(event))


def test_a_few_bytes_that_unpack_to_very_many_are_damage_and_not_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = b"x" * 100_000
    value = packing.pack_result(0, line, is_error=False)
    assert len(value) < 1_000
    assert packing.unpack_result(0, value) == (False, line)
    monkeypatch.setattr(packing, "RESULT_BYTES_MAX", len(line) - 1)
    with pytest.raises(DamagedJournalError, match="line index 0"):
        packing.unpack_result(0, value)
    with pytest.raises(DamagedJournalError):
        packing.unpack_result(0, value[:-3])  # an end that lacks


def test_counters_that_came_later_stand_by_name_and_no_category_is_taken_for_one() -> None:
    spent = Spent(prompt_tokens=5, lowered_answers=1, not_json_answers=2, broken_answers=3)
    counters = Progress(9, 6, 3, spent, {"invalid_answer": 5}, 2.0)
    assert packing.unpack_progress(packing.pack_progress(counters)) == counters


def test_an_outcome_of_two_lines_is_one_row() -> None:
    outcome = b'{"error":"' + b"x" * 600 + b'"}' + b"\n" + b'{"body":1}'
    row = packing.pack_result(3, outcome, is_error=True)
    assert packing.unpack_result(3, row) == (True, outcome)
