"""Arrivals: a file is read in slices, so that none holds up another, and is given up between two of them."""

from collections.abc import Callable

import pytest

from batchd.core.bulk import LINES_FREE
from batchd.core.lifecycle import Phase
from batchd.core.rules import Rules
from batchd.daemon import arrival, reading
from batchd.daemon.arrival import Turn
from tests.daemon.inlet import NAME, Accepted, World
from tests.fakes.made_batch import chat, content
from tests.fakes.memory_spool import MemorySpool


@pytest.fixture(autouse=True)
def thin_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LINES_PER_COMMIT", 2)


def lines(count: int) -> bytes:
    return content([chat(f"r{number}") for number in range(count)])


def claimed(world: World, name: bytes, raw: bytes) -> str:
    world.spool.drop(name, raw)
    [batch_id] = world.intake.sweep(1)
    return batch_id


def accepted(world: World, batch_id: str) -> Accepted:
    batch = world.intake.accept(batch_id)
    assert batch is not None
    return Accepted(batch)


def refusals(batch: Accepted) -> list[str]:
    return [refusal.code for refusal in batch.facts.refusals]


def test_while_a_large_file_is_read_another_comes_in() -> None:
    world = World()
    large, small = claimed(world, b"large.jsonl", lines(40)), claimed(world, NAME, lines(1))
    for _ in range(3):
        assert world.intake.advance(large) is Turn.OVER
    assert 2 <= sum(world.journals[0].commits) < 40
    assert accepted(world, small).facts.total == 1
    assert [item.batch_id for item in world.intake.waiting] == [large]
    assert accepted(world, large).facts.total == 40


def test_a_cancelled_file_is_not_read_to_its_end() -> None:
    world = World()
    batch_id = claimed(world, NAME, lines(40))
    assert world.intake.advance(batch_id) is Turn.OVER
    world.intake.cancel(batch_id)
    assert world.intake.due() == [batch_id]
    batch = accepted(world, batch_id)
    assert refusals(batch) == ["batch_cancelled"]
    assert (batch.facts.total, batch.raw) == (0, b"")
    first, second = world.journals
    assert (first._is_closed, second.phase()) == (True, Phase.READY)


def test_a_copy_is_given_up_in_its_middle() -> None:
    class Endless(MemorySpool):
        blocks = 0

        def copy_input(
            self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
        ) -> tuple[str, int]:
            while on_block(b"a line\n"):
                self.blocks += 1
            return super().copy_input(batch_id, on_block)

    world = World(Rules(slots=1, settle_s=0.0, lines_max=10**9))
    world.spool.__class__ = Endless
    batch_id = claimed(world, NAME, lines(3))
    assert world.intake.advance(batch_id) is Turn.OVER
    world.intake.cancel(batch_id)
    assert refusals(accepted(world, batch_id)) == ["batch_cancelled"]
    assert isinstance(world.spool, Endless)
    assert world.spool.blocks > 0


def test_what_is_being_read_at_the_end_of_the_house_stays_claimed() -> None:
    world = World()
    batch_id = claimed(world, NAME, lines(9))
    assert world.intake.advance(batch_id) is Turn.OVER
    world.intake.close()
    [journal] = world.journals
    assert (journal.phase(), journal._is_closed) == (None, True)
    assert batch_id in world.spool.processing


@pytest.mark.parametrize(
    ("raw", "code"), [(lines(6), "too_many_lines"), (b"x\n" * (LINES_FREE + 1), "lines_too_short")]
)
def test_a_file_that_makes_too_much_of_itself_fails_with_one_sentence_and_no_line_of_it_is_entered(
    raw: bytes, code: str
) -> None:
    world = World(Rules(slots=1, settle_s=0.0, lines_max=5 if code == "too_many_lines" else 5_000_000))
    batch = accepted(world, claimed(world, NAME, raw))
    assert refusals(batch) == [code]
    assert batch.facts.total == 0
    assert world.journals[0].commits == []


def test_of_large_files_one_is_read_at_a_time_and_small_ones_overtake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrival, "LARGE_LINES", 3)
    world = World()
    first, second = claimed(world, b"a.jsonl", lines(8)), claimed(world, b"b.jsonl", lines(8))
    small = claimed(world, b"c.jsonl", lines(2))
    for batch_id in (first, second) * 3:
        assert world.intake.advance(batch_id) is Turn.OVER
    assert [sum(journal.commits) > 0 for journal in world.journals] == [True, False]
    assert accepted(world, small).facts.total == 2
    assert accepted(world, first).facts.total == 8
    assert accepted(world, second).facts.total == 8


def test_room_is_asked_for_with_the_lines_that_were_counted_and_copied_once_for_that() -> None:
    """The beginning of a file says little of how many lines it has."""

    class Counting(MemorySpool):
        copies = 0

        def copy_input(
            self, batch_id: str, on_block: Callable[[bytes], bool] = lambda block: True
        ) -> tuple[str, int]:
            self.copies += 1
            return super().copy_input(batch_id, on_block)

    world = World()
    world.spool.__class__ = Counting
    assert isinstance(world.spool, Counting)
    batch_id = claimed(world, NAME, lines(100))
    world.spool.free = world.space.reserve_bytes + 100_000
    for _ in range(3):
        assert world.intake.accept(batch_id) is None
    assert world.spool.copies == 1
    [waiting] = world.intake.waiting
    assert waiting.reason.startswith("there is no room on the disk: it needs")
    assert world.journals == []
    world.spool.free = 10**12
    assert accepted(world, batch_id).facts.total == 100


def test_a_batch_that_the_whole_disk_does_not_hold_fails_and_does_not_wait_for_ever() -> None:
    world = World()
    world.space.reserve_bytes = world.spool.size - 100_000
    world.spool.free = 10**15
    batch = accepted(world, claimed(world, NAME, lines(100)))
    assert refusals(batch) == ["too_large_for_disk"]
    assert world.journals[0].commits == []
