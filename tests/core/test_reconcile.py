import pytest

from batchd.core.lifecycle import Phase, Place, State, UnknownStateError
from batchd.core.reconcile import Repair, actions

EMPTY = Place(False, False, False, False)
CLAIMED = Place(True, False, False, False)
TAKEN_IN = Place(True, True, True, False)
ASSEMBLED = Place(True, True, True, True)
ARCHIVED = Place(False, True, True, False)


def repair(place: Place, phase: Phase | None) -> Repair:
    (action,) = actions({"b": place}, {"b": phase} if place.has_journal else {})
    return action.repair


def test_each_state_has_its_repair() -> None:
    assert repair(EMPTY, None) is Repair.REMOVE
    assert repair(CLAIMED, None) is Repair.INTAKE
    assert repair(TAKEN_IN, None) is Repair.INTAKE
    assert repair(TAKEN_IN, Phase.READY) is Repair.WORK
    assert repair(TAKEN_IN, Phase.IN_PROGRESS) is Repair.WORK
    assert repair(ASSEMBLED, Phase.IN_PROGRESS) is Repair.WORK
    assert repair(ASSEMBLED, Phase.PUBLISHING) is Repair.PUBLISH
    assert repair(TAKEN_IN, Phase.PUBLISHING) is Repair.ARCHIVE
    assert repair(ARCHIVED, Phase.PUBLISHING) is Repair.DISCARD


def test_what_is_furthest_comes_first() -> None:
    places = {"c": CLAIMED, "w": TAKEN_IN, "p": ASSEMBLED, "e": EMPTY}
    phases: dict[str, Phase | None] = {"w": Phase.IN_PROGRESS, "p": Phase.PUBLISHING}
    found = actions(places, phases)
    assert [action.batch_id for action in found] == ["p", "w", "c", "e"]
    assert [action.state for action in found] == [State.S5, State.S4, State.S2, State.S1A]


def test_a_directory_outside_the_table_stops_recovery() -> None:
    with pytest.raises(UnknownStateError):
        actions({"b": Place(False, False, True, True)}, {"b": Phase.READY})
