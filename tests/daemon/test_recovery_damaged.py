"""A damaged journal needs no person: it is put aside, and the batch begins again with what was whole."""

import pytest

from batchd.core.json import dumps
from batchd.core.lifecycle import Phase
from batchd.daemon.ports import Journal
from batchd.daemon.recovery import recover
from batchd.errors import DamagedJournalError, JournalVersionError
from tests.daemon.inlet import NAME, Accepted, World
from tests.fakes.made_batch import chat, content

ANSWER = dumps({"custom_id": "b", "response": {"status_code": 200, "body": {}}, "error": None})


def begun(world: World) -> Accepted:
    batch = world.take(content([chat("a"), chat("b"), None]))
    world.spool.journals.add(batch.id)
    return batch


def damaged(path: str) -> Journal:
    raise DamagedJournalError("The journal is torn.")


@pytest.mark.parametrize("uses", ["", '{"uses": []}'])
def test_a_batch_with_a_damaged_journal_is_taken_in_again_and_keeps_its_whole_answers(uses: str) -> None:
    world = World()
    batch = begun(world)
    recovered = recover(world.spool, damaged)
    assert (recovered.intake, recovered.work, recovered.publish) == ([batch.id], [], [])
    assert world.spool.processing[batch.id].copy == batch.raw
    world.intake.enter(batch.id, is_accepted=False)

    def create(path: str) -> Journal:
        journal = type(batch.journal)()
        journal.salvageable = [(1, False, ANSWER)]  # type: ignore[attr-defined]  # of the journal in memory
        journal.salvageable_uses = uses  # type: ignore[attr-defined]
        return journal

    world.intake._arrivals._create_journal = create
    again = world.intake.accept(batch.id)
    assert again is not None
    assert {index: line for index, _, line in again.journal.results()}[1] == ANSWER
    assert again.journal.phase() is Phase.READY
    [event] = again.journal.events()
    assert (event.name, event.old, event.new) == ("salvaged", "3", "1")
    notes = str(again.journal.meta()["notes"])
    assert "1 of its results were whole" in notes
    assert ("which models gave these results could not be read" in notes) is (not uses)


@pytest.mark.parametrize("left", [["batch.json", "output.jsonl"], ["output.jsonl"]])  # half collected
def test_what_was_published_before_the_damage_is_archived_and_not_published_again(left: list[str]) -> None:
    world = World()
    batch = begun(world)
    world.spool.outbox[f"reviews.{batch.id}"] = dict.fromkeys(left, b"x")
    recovered = recover(world.spool, damaged)
    assert (recovered.intake, recovered.work, recovered.publish) == ([], [], [])
    assert world.spool.processing == {}
    assert world.spool.archived[batch.id][1].keys() == {NAME}


def test_a_journal_of_another_version_stops_recovery_and_is_left_alone() -> None:
    """The batchd that wrote it can finish it; salvaging would throw its counters away."""
    world = World()
    batch = begun(world)

    def refuse(path: str) -> Journal:
        raise JournalVersionError("The journal has schema 9; this batchd knows 1.", "Run the newer one.")

    with pytest.raises(JournalVersionError):
        recover(world.spool, refuse)
    assert batch.id in world.spool.processing
    assert world.spool.journals_aside(batch.id) == ()
