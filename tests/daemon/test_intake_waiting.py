"""The intake: batches that are claimed and cannot be taken in yet, and what one owner may have."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from batchd.core import waiting
from batchd.core.json import dumps
from batchd.core.lifecycle import Place
from batchd.core.record import NewLine
from batchd.core.rules import Rules
from batchd.core.space import bytes_to_come
from batchd.core.waiting import PAUSE_LAST_S, UNSETTLED_S_MAX
from batchd.daemon.intake import CLAIMS_PER_SWEEP_MAX
from batchd.errors import FullJournalError, JournalError, NoSpaceError, NotUsableError, SpoolError
from tests.daemon.inlet import NAME, OPTIONS, WANTED, Accepted, CountingJournal, World
from tests.fakes.made_batch import chat, content
from tests.fakes.memory_spool import Dropped, MemorySpool

LINES = content([chat("a")])
S2 = Place(has_original=True, has_copy=False, has_journal=False, has_publish=False)


def claimed(world: World, name: bytes = NAME, uid: int = 0) -> str:
    world.spool.drop(name, LINES, uid=uid)
    [batch_id] = world.intake.sweep(1)
    return batch_id


def later(world: World, duration_s: float) -> None:
    world.clock._move_to(world.clock.monotonic() + duration_s)


def accepted(world: World, batch_id: str) -> Accepted:
    batch = world.intake.accept(batch_id)
    assert batch is not None
    return Accepted(batch)


# --- options ---------------------------------------------------------------------------------------------


def test_options_follow_their_batch_at_the_claim_and_later_ones_stay_for_the_next_file() -> None:
    world = World()
    world.spool.drop(OPTIONS, dumps({"batch_id": WANTED, "strict": True}))
    assert claimed(world) == WANTED
    world.spool.drop(OPTIONS, dumps({"strict": False}))
    world.spool.drop(NAME, LINES)
    assert accepted(world, WANTED).facts.is_strict
    assert set(world.spool.inbox) == {NAME, OPTIONS}


def test_options_that_come_between_claim_and_accept_are_not_this_batchs() -> None:
    world = World()
    batch_id = claimed(world)
    world.spool.drop(OPTIONS, dumps({"strict": True}))
    assert not accepted(world, batch_id).facts.is_strict
    assert set(world.spool.inbox) == {OPTIONS}


def test_two_files_that_name_one_wanted_batch_do_not_end_the_run() -> None:
    world = World(only=frozenset({WANTED}))
    for name in (b"a", b"b"):
        world.spool.drop(name + b".jsonl", LINES)
        world.spool.drop(name + b".options.json", dumps({"batch_id": WANTED}))
    assert world.intake.sweep(16) == [WANTED]
    assert world.intake.sweep(16) == []
    world.spool.discard(WANTED)
    world.spool.outbox[f"a.{WANTED}"] = {"batch.json": b"{}"}
    assert world.intake.sweep(16) == []
    assert set(world.spool.inbox) == {b"b.jsonl", b"b.options.json"}


# --- files that change -----------------------------------------------------------------------------------


def test_a_claimed_batch_is_shown_before_it_is_accepted() -> None:
    world = World()
    batch_id = claimed(world)
    assert [(item.batch_id, item.name, item.reason) for item in world.intake.waiting] == [
        (batch_id, NAME, "")
    ]
    accepted(world, batch_id)
    assert list(world.intake.waiting) == []


def test_a_file_with_a_writer_is_looked_at_with_growing_pauses_and_never_copied() -> None:
    class Counting(MemorySpool):
        copies = 0

        def copy_input(
            self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
        ) -> tuple[str, int]:
            self.copies += 1
            return super().copy_input(batch_id, on_block)

    world = World()
    world.spool.__class__ = Counting
    batch_id = claimed(world)
    world.spool.writers.add(NAME)
    looks = 0
    for _ in range(600):
        for due in world.intake.due():
            looks += 1
            assert world.intake.accept(due) is None
        later(world, 1.0)
    assert 6 <= looks <= 6 + 600 / PAUSE_LAST_S
    assert isinstance(world.spool, Counting)
    assert world.spool.copies == 0
    assert "still being written" in world.intake.waiting[0].reason
    world.spool.writers.clear()
    later(world, PAUSE_LAST_S)
    assert world.intake.due() == [batch_id]
    assert accepted(world, batch_id).facts.total == 1


def test_a_file_that_changed_since_the_last_look_is_not_copied_yet() -> None:
    world = World()
    batch_id = claimed(world)
    world.spool.writers.add(NAME)
    assert world.intake.accept(batch_id) is None
    world.spool.writers.clear()
    world.spool.touched[NAME] = 1
    assert world.intake.accept(batch_id) is None
    assert world.intake.accept(batch_id) is not None


def test_a_batch_whose_copy_is_kept_does_not_wait_for_who_writes_the_original() -> None:
    world = World()
    batch_id = claimed(world)
    world.spool.copy_input(batch_id)
    world.spool.put_journal_aside(batch_id)
    world.spool.writers.add(NAME)
    assert accepted(world, batch_id).facts.total == 1


def test_after_a_day_it_fails_with_the_reason_and_unread() -> None:
    world = World()
    batch_id = claimed(world)
    world.spool.writers.add(NAME)
    assert world.intake.accept(batch_id) is None
    later(world, UNSETTLED_S_MAX - 1.0)
    assert world.intake.accept(batch_id) is None
    later(world, 1.0)
    taken = accepted(world, batch_id)
    assert [refusal.code for refusal in taken.facts.refusals] == ["file_never_settled"]
    assert (taken.facts.total, taken.raw) == (0, b"")


def test_files_that_change_hold_up_nobody_elses_and_only_so_many_of_one_owner_are_claimed(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(waiting, "WAITING_PER_OWNER_MAX", 16)
    world = World()
    for number in range(20):
        world.spool.drop(b"%02d.jsonl" % number, LINES, uid=1)
    mine = world.intake.sweep(16)
    world.spool.writers.update(b"%02d.jsonl" % number for number in range(16))
    assert [world.intake.accept(batch_id) for batch_id in mine] == [None] * CLAIMS_PER_SWEEP_MAX
    assert world.intake.sweep(16) == []
    assert [item.name for item in world.intake.unclaimable] == [
        b"16.jsonl",
        b"17.jsonl",
        b"18.jsonl",
        b"19.jsonl",
    ]
    assert "claimed and wait already" in world.intake.unclaimable[0].reason
    for room in (0, 16, 0, 16):
        assert world.intake.sweep(room) == []
    assert sum("stays in the inbox: 16.jsonl" in line for line in said) == 1
    world.spool.drop(b"z.jsonl", LINES, uid=2)
    [other] = world.intake.sweep(16)
    assert accepted(world, other).facts.total == 1


def test_a_cancelled_batch_that_waits_ends_unread_and_one_that_does_not_is_taken_in_first() -> None:
    world = World()
    waits, comes = claimed(world), claimed(world, b"b.jsonl")
    world.spool.writers.add(NAME)
    assert world.intake.accept(waits) is None
    for batch_id in (waits, comes, f"batch_{9:032x}"):
        world.intake.cancel(batch_id)
    assert set(world.intake.due()) == {waits, comes}
    assert [refusal.code for refusal in accepted(world, waits).facts.refusals] == ["batch_cancelled"]
    assert accepted(world, comes).facts.refusals == ()


# --- room on the disk ------------------------------------------------------------------------------------


def test_a_batch_without_room_waits_and_others_that_fit_go_on(said: list[str]) -> None:
    world = World()
    large = claimed(world)
    world.spool.processing[large].orig[NAME] = LINES * 1_000
    small = claimed(world, b"small.jsonl")
    world.spool.free = world.space.reserve_bytes + 100_000
    assert world.intake.accept(large) is None
    assert accepted(world, small).facts.total == 1
    assert world.spool.places()[large] == S2
    [waiting] = world.intake.waiting
    assert "there is no room on the disk: it needs" in waiting.reason
    assert sum("there is no room" in line for line in said) == 1
    world.spool.free = 10**12
    later(world, PAUSE_LAST_S)
    assert world.intake.due() == [large]
    world.spool.processing[large].orig[NAME] = LINES
    assert world.intake.accept(large) is not None


def test_room_that_was_promised_to_one_batch_is_not_given_to_the_next() -> None:
    world = World()
    first, second = claimed(world), claimed(world, b"b.jsonl")
    need = len(LINES) + 3_600
    world.spool.free = world.space.reserve_bytes + need
    assert world.intake.accept(first) is not None
    assert world.intake.accept(second) is None
    world.intake.leave(first)
    assert world.intake.accept(second) is not None


@pytest.mark.parametrize(("refused", "at"), [("copy_input", 1), *(("open_input", at) for at in (1, 2, 3))])
def test_a_disk_that_fills_while_a_file_is_taken_in_makes_the_batch_wait(
    refused: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    works: Callable[..., object] = getattr(MemorySpool, refused)
    calls: list[str] = []

    def fail(spool: MemorySpool, batch_id: str, *more: object) -> object:
        calls.append(batch_id)
        if len(calls) % at == 0:
            raise NoSpaceError("No space left on device.")
        return works(spool, batch_id, *more)

    world = World()
    batch_id = claimed(world)
    monkeypatch.setattr(MemorySpool, refused, fail)
    for _ in range(2):
        assert world.intake.accept(batch_id) is None
    assert world.spool.places()[batch_id] == S2
    assert "No space left" in world.intake.waiting[0].reason
    monkeypatch.undo()
    assert world.intake.accept(batch_id) is not None


@pytest.mark.parametrize("is_full", [True, False])
def test_a_journal_that_fails_on_a_full_disk_makes_the_batch_wait_and_elsewhere_ends_the_daemon(
    is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    batch_id = claimed(world)

    def fail(journal: CountingJournal, lines: Sequence[NewLine]) -> None:
        raise (FullJournalError if is_full else JournalError)("The journal cannot be written.")

    monkeypatch.setattr(CountingJournal, "add_lines", fail)
    if not is_full:
        with pytest.raises(JournalError):
            world.intake.accept(batch_id)
        return
    assert world.intake.accept(batch_id) is None
    assert world.journals[-1]._is_closed
    assert world.spool.places()[batch_id] == S2
    monkeypatch.undo()
    assert world.intake.accept(batch_id) is not None


def test_a_claim_for_which_there_is_no_room_leaves_the_file_where_it_is() -> None:
    class Full(MemorySpool):
        def claim(self, name: bytes, batch_id: str) -> bool:
            raise NoSpaceError("No space left on device.")

    world = World()
    world.spool.__class__ = Full
    world.spool.drop(NAME, LINES)
    assert world.intake.sweep(16) == []
    assert set(world.spool.inbox) == {NAME}
    assert "the disk is full: No space left" in world.intake.unclaimable[0].reason


@pytest.mark.parametrize("refused", ["claim_options", "original"])
def test_what_finds_no_room_after_the_claim_ends_the_daemon_for_recovery_to_go_on(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(spool: MemorySpool, *more: object) -> object:
        raise NoSpaceError("No space left on device.")

    world = World()
    monkeypatch.setattr(MemorySpool, refused, full)
    world.spool.drop(NAME, LINES)
    with pytest.raises(SpoolError, match="No space left") as told:
        world.intake.sweep(16)
    assert not isinstance(told.value, NoSpaceError)
    assert list(world.spool.places().values()) == [S2]


# --- owners ----------------------------------------------------------------------------------------------


def test_owners_take_turns_and_who_has_work_in_the_house_comes_later() -> None:
    world = World()
    for number in range(20):
        world.spool.drop(b"many-%02d.jsonl" % number, LINES, uid=1)
    world.spool.drop(b"one.jsonl", LINES, uid=2)
    names = [world.spool.original_name(batch_id) for batch_id in world.intake.sweep(4)]
    assert names == [b"many-00.jsonl", b"one.jsonl", b"many-01.jsonl", b"many-02.jsonl"]
    world.spool.drop(b"two.jsonl", LINES, uid=2)
    [after] = world.intake.sweep(1)
    assert world.spool.original_name(after) == b"two.jsonl"


@pytest.mark.parametrize("limit", ["input_bytes_max", "owner_bytes_max"])
def test_more_bytes_than_a_limit_stay_in_the_inbox_until_there_is_room(limit: str) -> None:
    world = World()
    limits: dict[str, Any] = {limit: 2 * len(LINES)}
    world.intake.adopt(Rules(slots=1, settle_s=0.0, **limits))
    for number in range(3):
        world.spool.drop(b"%d.jsonl" % number, LINES, uid=1)
    world.spool.drop(b"other.jsonl", LINES, uid=2)
    claims = world.intake.sweep(16)
    names = {world.spool.original_name(batch_id) for batch_id in claims}
    if limit == "owner_bytes_max":
        assert names == {b"0.jsonl", b"1.jsonl", b"other.jsonl"}
    else:
        assert names == {b"0.jsonl", b"other.jsonl"}
    said = "counting journals and results" if limit == "owner_bytes_max" else "of input"
    assert said in world.intake.unclaimable[-1].reason
    world.intake.leave(claims[0])
    assert len(world.intake.sweep(16)) == 1


def test_what_an_earlier_run_left_counts_for_its_owner() -> None:
    world = World()
    first = claimed(world, uid=1)
    again = World()
    again.spool.processing = world.spool.processing
    again.intake.enter(first, is_accepted=True)
    assert list(again.intake.waiting) == []
    again.spool.drop(b"a.jsonl", LINES, uid=1)
    again.spool.drop(b"b.jsonl", LINES, uid=2)
    [batch_id] = again.intake.sweep(1)
    assert again.spool.original_name(batch_id) == b"b.jsonl"


class Swapped(MemorySpool):
    """Another user's larger file takes the name between the sweep and the rename."""

    def claim(self, name: bytes, batch_id: str) -> bool:
        self.inbox[name] = Dropped(2 * LINES, inode=0, uid=7)
        return super().claim(name, batch_id)


def test_what_was_moved_counts_for_its_owner_and_not_what_the_sweep_saw() -> None:
    world = World()
    world.intake.adopt(Rules(slots=1, settle_s=0.0, owner_bytes_max=2 * len(LINES)))
    world.spool.__class__ = Swapped
    claimed(world, uid=1)
    world.spool.__class__ = MemorySpool
    world.spool.drop(b"his.jsonl", LINES, uid=7)
    world.spool.drop(b"hers.jsonl", LINES, uid=1)
    [batch_id] = world.intake.sweep(16)
    assert world.spool.original_name(batch_id) == b"hers.jsonl"


class Refusing(MemorySpool):
    """A directory took the place of one file."""

    tries = 0

    def claim(self, name: bytes, batch_id: str) -> bool:
        if name == NAME:
            self.tries += 1
            raise NotUsableError("it became a directory")
        return super().claim(name, batch_id)


def test_a_name_that_cannot_be_moved_stays_with_its_reason_and_the_others_are_claimed() -> None:
    world = World(Rules(slots=1, settle_s=2.0))
    world.spool.__class__ = Refusing
    world.spool.drop(NAME, LINES)
    world.spool.drop(b"z.jsonl", LINES)
    assert world.intake.sweep(16) == []
    later(world, 2.0)
    assert len(world.intake.sweep(16)) == 1
    assert [item.reason for item in world.intake.unclaimable] == ["it became a directory"]
    assert world.intake.sweep(16) == []
    assert isinstance(world.spool, Refusing)
    assert world.spool.tries == 1  # each try costs two syncs: it must lie still anew
    later(world, 2.0)
    world.intake.sweep(16)
    assert world.spool.tries == 2


# --- options of another user -----------------------------------------------------------------------------


def test_options_of_another_user_give_no_id_and_do_not_go_with_the_batch() -> None:
    world = World()
    world.spool.drop(NAME, LINES, uid=1)
    world.spool.drop(OPTIONS, dumps({"batch_id": WANTED, "unknown": 1}), uid=2)
    [batch_id] = world.intake.sweep(16)
    assert batch_id != WANTED
    assert accepted(world, batch_id).facts.refusals == ()
    assert OPTIONS in world.spool.inbox


# --- growth after the claim ------------------------------------------------------------------------------


def grow(world: World, batch_id: str, content: bytes) -> None:
    """Its owner holds a descriptor."""
    [name] = world.spool.processing[batch_id].orig
    world.spool.processing[batch_id].orig[name] = content


def test_a_claimed_file_that_grew_beyond_what_its_owner_may_have_fails_unread() -> None:
    world = World(Rules(slots=1, settle_s=0.0, owner_bytes_max=2 * len(LINES)))
    batch_id = claimed(world)
    grow(world, batch_id, 3 * LINES)
    taken = accepted(world, batch_id)
    assert taken.facts.refusals == (waiting.OVERGROWN,)
    assert taken.raw == b""


def test_a_claimed_file_that_grew_waits_for_the_others_of_its_owner_and_for_nobody_else() -> None:
    limit = 2 * (len(LINES) + bytes_to_come(1)) + len(LINES)
    world = World(Rules(slots=1, settle_s=0.0, owner_bytes_max=limit))
    first, second = claimed(world, b"1.jsonl", uid=1), claimed(world, b"2.jsonl", uid=1)
    other = claimed(world, b"3.jsonl", uid=2)
    for batch_id in (first, second, other):
        grow(world, batch_id, content([chat("a"), chat("b")]))
    assert world.intake.accept(first) is not None
    assert world.intake.accept(second) is None
    assert "counting journals and results" in world.intake.waiting[0].reason
    assert world.intake.accept(other) is not None
    world.intake.leave(first)
    assert world.intake.accept(second) is not None


def test_two_that_wait_do_not_wait_for_each_other_and_one_alone_may_begin() -> None:
    world = World(Rules(slots=1, settle_s=0.0, owner_bytes_max=2 * len(LINES)))
    first, second = claimed(world, b"1.jsonl", uid=1), claimed(world, b"2.jsonl", uid=1)
    assert world.intake.accept(first) is not None
    assert world.intake.accept(second) is None


def test_a_journal_that_grew_counts_for_its_owner() -> None:
    limit = 10 * (len(LINES) + bytes_to_come(1))
    world = World(Rules(slots=1, settle_s=0.0, owner_bytes_max=limit))
    assert world.intake.accept(claimed(world, b"1.jsonl", uid=1)) is not None
    assert world.intake.accept(claimed(world, b"2.jsonl", uid=1)) is not None
    world.spool.grown = limit
    world.spool.drop(b"3.jsonl", LINES, uid=1)
    world.spool.drop(b"4.jsonl", LINES, uid=2)
    [batch_id] = world.intake.sweep(16)
    assert world.spool.original_name(batch_id) == b"4.jsonl"
