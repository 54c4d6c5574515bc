"""The table of a model server's states: every way, and none beside them."""

from collections.abc import Sequence

import pytest

from batchd.core.serverstate import PROVEN, TABLE, Command, Event, State, step


def walk(state: State, *events: Event) -> Sequence[tuple[State, Command]]:
    """Where each event leads."""
    steps = []
    for event in events:
        state, command = step(state, event)
        steps.append((state, command))
    return steps


def test_the_way_to_ready_is_a_load_and_a_canary() -> None:
    assert walk(State.ABSENT, Event.WANTED, Event.LOADED, Event.PROVEN) == [
        (State.LOADING, Command.LOAD),
        (State.CANARY, Command.PROVE),
        (State.READY, Command.NOTHING),
    ]


def test_only_a_canary_makes_a_server_ready() -> None:
    ways = {(state, event) for (state, event), (after, _) in TABLE.items() if after is State.READY != state}
    assert ways == {(State.CANARY, Event.PROVEN), (State.BUSY, Event.DRAINED)}


def test_a_death_leads_over_a_restart_to_a_fresh_load() -> None:
    assert walk(State.BUSY, Event.LOST, Event.WANTED, Event.RESTARTED, Event.LOADED) == [
        (State.SUSPECT, Command.NOTHING),
        (State.RESTARTING, Command.RESTART),
        (State.LOADING, Command.LOAD),
        (State.CANARY, Command.PROVE),
    ]


def test_a_server_that_dies_too_often_cools_before_its_restart() -> None:
    assert walk(State.SUSPECT, Event.OVERSPENT, Event.RESTED) == [
        (State.COOLING, Command.COOL),
        (State.RESTARTING, Command.RESTART),
    ]


@pytest.mark.parametrize("state", [State.LOADING, State.CANARY, State.RESTARTING])
def test_whatever_fails_cools_and_what_is_refused_is_reported(state: State) -> None:
    assert step(state, Event.FAILED) == (State.COOLING, Command.COOL)
    assert step(state, Event.REFUSED) == (State.ABSENT, Command.REPORT)


def test_patience_ends_in_given_up_and_the_next_wish_begins_anew() -> None:
    assert walk(State.COOLING, Event.EXPIRED, Event.WANTED) == [
        (State.GIVEN_UP, Command.REPORT),
        (State.RESTARTING, Command.RESTART),
    ]


@pytest.mark.parametrize("state", sorted(PROVEN))
def test_a_slow_server_is_loaded_and_proven_without_a_restart(state: State) -> None:
    assert step(state, Event.DOUBTED) == (State.LOADING, Command.LOAD)


@pytest.mark.parametrize("state", list(State))
def test_every_state_knows_what_to_do_when_it_is_wanted_lost_or_released(state: State) -> None:
    assert step(state, Event.WANTED)[1] in (Command.LOAD, Command.RESTART)
    # A canary that is lost is of a server that was doubted: it is restarted at once.
    assert step(state, Event.LOST)[1] is (Command.RESTART if state is State.CANARY else Command.NOTHING)
    after = Command.NOTHING if state is State.ABSENT else Command.UNLOAD
    assert step(state, Event.RELEASED) == (State.ABSENT, after)


def test_every_state_can_be_reached_from_absent() -> None:
    reached = {State.ABSENT}
    for _ in State:
        reached |= {after for (state, _), (after, _) in TABLE.items() if state in reached}
    assert reached == set(State)


@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("state", list(State))
def test_every_state_knows_every_event(state: State, event: Event) -> None:
    after, command = step(state, event)
    if after is state and command is Command.NOTHING:
        return  # it came late, and changes nothing
    # Each command leads on from the state in which it is done, so that no walk stands still.
    doing = {
        Command.LOAD: State.LOADING,
        Command.PROVE: State.CANARY,
        Command.RESTART: State.RESTARTING,
        Command.COOL: State.COOLING,
    }
    assert doing.get(command, after) is after


#: What may come of each command, as the supervisor says it.
OUTCOMES = {
    State.LOADING: {Event.LOADED, Event.SHRUNK, Event.FAILED, Event.REFUSED},
    State.CANARY: {Event.PROVEN, Event.SHRUNK, Event.FAILED, Event.REFUSED, Event.LOST},
    State.RESTARTING: {Event.RESTARTED, Event.SHRUNK, Event.FAILED, Event.REFUSED},
    State.COOLING: {Event.RESTED, Event.EXPIRED},
}


@pytest.mark.parametrize("state", sorted(OUTCOMES))
def test_whatever_comes_of_a_command_leads_on(state: State) -> None:
    assert [event for event in OUTCOMES[state] if step(state, event) == (state, Command.NOTHING)] == []


@pytest.mark.parametrize("state", [state for state in State if state is not State.CANARY])
def test_a_proof_that_comes_late_proves_nothing(state: State) -> None:
    assert step(state, Event.PROVEN) == (state, Command.NOTHING)
