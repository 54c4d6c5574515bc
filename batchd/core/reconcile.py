"""Reconcile: after a start, compare what stands in `processing/` with the journals, and list the repairs.

SUMMARY
    A total function from (directory, journal phase) to one action. The actions are data; `daemon/recovery`
    runs them one by one, and each can be run twice.

DIAGNOSTICS
    Fatal: UnknownStateError from `core/lifecycle` for a directory that the table does not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from batchd.core.lifecycle import Phase, Place, State, state_of


class Repair(Enum):
    """What recovery does with one directory."""

    REMOVE = auto()  # a claim that did not happen
    INTAKE = auto()  # claimed: begin (again) from orig/
    WORK = auto()  # accepted: go on where it stopped
    PUBLISH = auto()  # complete: publish/ is to be renamed
    ARCHIVE = auto()  # published: archive the original, then discard
    DISCARD = auto()  # archived: discard
    SALVAGE = auto()  # its journal is damaged: put it aside, begin again, take over its whole answers


@dataclass(frozen=True, slots=True)
class Action:
    """One repair of one batch."""

    batch_id: str
    state: State
    repair: Repair


NONE_DAMAGED: Mapping[str, bool] = MappingProxyType({})

_REPAIRS: dict[State, Repair] = {
    State.S1A: Repair.REMOVE,
    State.S2: Repair.INTAKE,
    State.S2A: Repair.INTAKE,
    State.S3: Repair.WORK,
    State.S4: Repair.WORK,
    State.S4A: Repair.WORK,
    State.S5: Repair.PUBLISH,
    State.S6: Repair.ARCHIVE,
    State.S6A: Repair.DISCARD,
}


def actions(
    places: Mapping[str, Place],
    phases: Mapping[str, Phase | None],
    damaged: Mapping[str, bool] = NONE_DAMAGED,
) -> list[Action]:
    """One action for each directory, oldest work first: what is published, then what runs, then what waits.

    `phases` has the journal's phase of each batch that has a journal; `damaged` has the batches whose journal
    cannot say its phase, and whether the outbox has their result.
    """
    found = []
    for batch_id, place in places.items():
        if batch_id in damaged:
            found.append(_without_journal(batch_id, place, damaged[batch_id]))
            continue
        state = state_of(place, phases.get(batch_id))
        found.append(Action(batch_id, state, _REPAIRS[state]))
    return sorted(found, key=lambda action: (-list(State).index(action.state), action.batch_id))


def _without_journal(batch_id: str, place: Place, is_published: bool) -> Action:
    # What the other files say. One published and collected at once, with its journal damaged in the same
    # moment, would be published again: with the same answers, since they are salvaged.
    if not place.has_original:
        return Action(batch_id, State.S6A, Repair.DISCARD)
    if is_published and not place.has_publish:
        return Action(batch_id, State.S6, Repair.ARCHIVE)
    return Action(batch_id, State.S2A, Repair.SALVAGE)
