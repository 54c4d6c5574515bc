"""Serverstate: the only states of a model server, and the only ways between them.

SUMMARY
    One table, for every engine: (state, event) -> (next state, what to do). The supervisor does what it is
    told and says what came of it. Every event has a row in every state: one that comes late, of a state that
    was left meanwhile, changes nothing, and what is wanted then is asked anew.

        absent      nothing of ours is loaded
        loading     a load was asked for                    canary      loaded; one request must prove it
        ready       proven, nothing in flight               busy        proven, requests in flight
        suspect     it died or hung under requests          restarting  room is made for a fresh load
        cooling     a pause between tries that failed       given up    the pauses took longer than allowed

    Only an answer to a canary makes a server ready: one whose runner was killed goes on listing its model.

DIAGNOSTICS
    None.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum, auto


class State(StrEnum):
    """What is true of the model server now."""

    ABSENT = "absent"
    LOADING = "loading"
    CANARY = "canary"
    READY = "ready"
    BUSY = "busy"
    SUSPECT = "suspect"
    RESTARTING = "restarting"
    COOLING = "cooling"
    GIVEN_UP = "given up"


class Event(Enum):
    """What happened."""

    WANTED = auto()  # somebody waits for a load that is not the present one
    LOADED = auto()
    PROVEN = auto()  # the canary came back as it should
    SHRUNK = auto()  # it did not fit, and less will be asked for
    FAILED = auto()  # a load, a canary or a restart: it may go well another time
    REFUSED = auto()  # for good: a model that is not there
    BEGUN = auto()  # the first request is in flight
    DRAINED = auto()  # the last one is not any more
    LOST = auto()  # it died or hung
    DOUBTED = auto()  # it is much slower than it was
    OVERSPENT = auto()  # it died too often to be restarted at once
    RESTARTED = auto()
    RESTED = auto()  # the pause is over
    EXPIRED = auto()  # and so is the patience
    RELEASED = auto()  # nobody needs it


class Command(Enum):
    """What to do next."""

    NOTHING = auto()
    LOAD = auto()
    PROVE = auto()
    RESTART = auto()
    COOL = auto()
    REPORT = auto()  # hand the fault to who waits
    UNLOAD = auto()


#: The ways. A try that was called off in the middle leaves its state behind; the next one begins it again.
_WAYS: Mapping[tuple[State, Event], tuple[State, Command]] = {
    (State.ABSENT, Event.WANTED): (State.LOADING, Command.LOAD),
    (State.ABSENT, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.ABSENT, Event.RELEASED): (State.ABSENT, Command.NOTHING),
    (State.LOADING, Event.WANTED): (State.LOADING, Command.LOAD),
    (State.LOADING, Event.LOADED): (State.CANARY, Command.PROVE),
    (State.LOADING, Event.SHRUNK): (State.LOADING, Command.LOAD),
    (State.LOADING, Event.FAILED): (State.COOLING, Command.COOL),
    (State.LOADING, Event.REFUSED): (State.ABSENT, Command.REPORT),
    (State.LOADING, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.LOADING, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.CANARY, Event.WANTED): (State.LOADING, Command.LOAD),
    (State.CANARY, Event.PROVEN): (State.READY, Command.NOTHING),
    (State.CANARY, Event.SHRUNK): (State.RESTARTING, Command.RESTART),
    (State.CANARY, Event.FAILED): (State.COOLING, Command.COOL),
    (State.CANARY, Event.REFUSED): (State.ABSENT, Command.REPORT),
    (State.CANARY, Event.LOST): (State.RESTARTING, Command.RESTART),
    (State.CANARY, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.READY, Event.WANTED): (State.LOADING, Command.LOAD),
    (State.READY, Event.BEGUN): (State.BUSY, Command.NOTHING),
    (State.READY, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.READY, Event.DOUBTED): (State.LOADING, Command.LOAD),
    (State.READY, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.BUSY, Event.WANTED): (State.LOADING, Command.LOAD),
    (State.BUSY, Event.DRAINED): (State.READY, Command.NOTHING),
    (State.BUSY, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.BUSY, Event.DOUBTED): (State.LOADING, Command.LOAD),
    (State.BUSY, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.SUSPECT, Event.WANTED): (State.RESTARTING, Command.RESTART),
    (State.SUSPECT, Event.OVERSPENT): (State.COOLING, Command.COOL),
    (State.SUSPECT, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.SUSPECT, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.RESTARTING, Event.WANTED): (State.RESTARTING, Command.RESTART),
    (State.RESTARTING, Event.RESTARTED): (State.LOADING, Command.LOAD),
    (State.RESTARTING, Event.SHRUNK): (State.RESTARTING, Command.RESTART),
    (State.RESTARTING, Event.FAILED): (State.COOLING, Command.COOL),
    (State.RESTARTING, Event.REFUSED): (State.ABSENT, Command.REPORT),
    (State.RESTARTING, Event.LOST): (State.SUSPECT, Command.NOTHING),
    (State.RESTARTING, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.COOLING, Event.WANTED): (State.RESTARTING, Command.RESTART),
    (State.COOLING, Event.RESTED): (State.RESTARTING, Command.RESTART),
    (State.COOLING, Event.EXPIRED): (State.GIVEN_UP, Command.REPORT),
    (State.COOLING, Event.LOST): (State.COOLING, Command.NOTHING),
    (State.COOLING, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
    (State.GIVEN_UP, Event.WANTED): (State.RESTARTING, Command.RESTART),
    (State.GIVEN_UP, Event.LOST): (State.GIVEN_UP, Command.NOTHING),
    (State.GIVEN_UP, Event.RELEASED): (State.ABSENT, Command.UNLOAD),
}

#: Every state with every event.
TABLE: Mapping[tuple[State, Event], tuple[State, Command]] = {
    (state, event): _WAYS.get((state, event), (state, Command.NOTHING)) for state in State for event in Event
}

#: A load was proven and may be used.
PROVEN = frozenset({State.READY, State.BUSY})


def step(state: State, event: Event) -> tuple[State, Command]:
    """Where this leads, and what to do there."""
    return TABLE[state, event]
