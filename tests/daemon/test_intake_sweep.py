"""The intake: what it claims, and when."""

from batchd.core.json import dumps
from batchd.core.rules import Rules
from batchd.daemon.intake import CLAIMS_PER_SWEEP_MAX, STAYS_SILENCE_S
from tests.daemon.inlet import NAME, WANTED, World
from tests.fakes.made_batch import chat, content
from tests.fakes.memory_spool import MemorySpool


def test_a_file_is_claimed_when_it_has_been_still_for_the_settle_time() -> None:
    world = World(Rules(slots=1, settle_s=2.0))
    world.spool.drop(NAME, b"half")
    assert world.intake.sweep(16) == []
    world.clock._move_to(world.clock.monotonic() + 1.9)
    world.spool.drop(NAME, b"half and more")
    assert world.intake.sweep(16) == []
    world.clock._move_to(world.clock.monotonic() + 1.9)
    assert world.intake.sweep(16) == []
    world.clock._move_to(world.clock.monotonic() + 0.2)
    assert len(world.intake.sweep(16)) == 1
    assert world.spool.inbox == {}


def test_a_file_with_a_writer_stays() -> None:
    world = World()
    world.spool.drop(NAME, content([chat("a")]))
    world.spool.writers.add(NAME)
    assert world.intake.sweep(16) == []
    world.spool.writers.clear()
    assert len(world.intake.sweep(16)) == 1


def test_an_id_that_is_taken_gets_a_fresh_one_and_it_is_said(said: list[str]) -> None:
    world = World()
    world.spool.outbox[f"reviews.{WANTED}"] = {"batch.json": b"{}"}
    taken = world.take(content([chat("a")]), {"batch_id": WANTED})
    assert taken.id == f"batch_{1:032x}"
    assert any(f"the id {WANTED} is taken: the batch of user 0 gets batch_" in line for line in said)


def test_no_more_is_claimed_than_there_is_room_for() -> None:
    world = World()
    for number in range(CLAIMS_PER_SWEEP_MAX + 4):
        world.spool.drop(b"%02d.jsonl" % number, content([chat("a")]))
    assert world.intake.sweep(0) == []
    assert len(world.intake.sweep(3)) == 3
    assert len(world.intake.sweep(100)) == CLAIMS_PER_SWEEP_MAX
    assert len(world.intake.sweep(100)) == 1


def test_with_only_the_others_stay_and_do_not_stand_in_the_way() -> None:
    world = World(only=frozenset({WANTED}))
    for number in range(CLAIMS_PER_SWEEP_MAX + 4):
        world.spool.drop(b"%02d.jsonl" % number, content([chat("a")]))
    world.spool.drop(b"mine.jsonl", content([chat("a")]))
    world.spool.drop(b"mine.options.json", dumps({"batch_id": WANTED}))
    assert world.intake.sweep(16) == [WANTED]
    assert world.intake.sweep(16) == []
    assert len(world.spool.inbox) == CLAIMS_PER_SWEEP_MAX + 4


def test_files_with_writers_do_not_stand_in_the_way() -> None:
    world = World()
    for number in range(CLAIMS_PER_SWEEP_MAX + 4):
        world.spool.drop(b"%02d.jsonl" % number, b"")
        world.spool.writers.add(b"%02d.jsonl" % number)
    world.spool.drop(b"z.jsonl", content([chat("a")]))
    assert len(world.intake.sweep(16)) == 1


def test_what_cannot_be_claimed_is_listed_and_said_once(said: list[str]) -> None:
    world = World()
    world.spool.drop(b"pipe.jsonl", b"", reason="it is a pipe")
    for _ in range(3):
        assert world.intake.sweep(16) == []
    assert [(item.name, item.reason) for item in world.intake.unclaimable] == [
        (b"pipe.jsonl", "it is a pipe")
    ]
    assert sum("it is a pipe" in line for line in said) == 1


def test_a_file_that_has_gone_since_the_sweep_is_no_batch() -> None:
    class Vanishing(MemorySpool):
        def claim(self, name: bytes, batch_id: str) -> bool:
            self.inbox.pop(name)
            return super().claim(name, batch_id)

    world = World()
    world.spool.__class__ = Vanishing
    world.spool.drop(NAME, b"x\n")
    assert world.intake.sweep(16) == []


def test_what_stays_is_one_line_a_minute_however_much_it_is(said: list[str]) -> None:
    world = World()

    def lines() -> int:
        return sum("stays in the inbox" in line for line in said)

    for number in range(500):
        world.spool.drop(b"%03d" % number, b"", reason="it is a link")
    world.intake.sweep(16)
    assert lines() == 1
    assert "and 499 more" in said[-1]
    for number in range(500, 600):
        world.spool.drop(b"%03d" % number, b"", reason="it is a link")
        world.intake.sweep(16)
    assert lines() == 1
    world.clock._move_to(world.clock.monotonic() + STAYS_SILENCE_S)
    world.intake.sweep(16)
    world.intake.sweep(16)
    assert lines() == 2
    assert "and 99 more" in said[-1]
    assert len(world.intake.unclaimable) == 600
