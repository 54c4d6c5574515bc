"""The provenance: enough to cite a result and to repeat it, and nothing invented."""

import sys

import pytest

from batchd import __version__
from batchd.app.engines import Engine
from batchd.app.provenance import describe_model, provenance
from batchd.core.json import dumps
from batchd.core.limits import Limits
from batchd.core.model import Load
from batchd.core.serverstate import State
from batchd.core.standing import Standing
from batchd.daemon.supervisor import Supervisor
from tests.fakes.fake_clock import FakeClock
from tests.fakes.scripted_model import ScriptedServer, crash


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor(ScriptedServer(), FakeClock(), Limits(2, True), lambda change: None)


@pytest.fixture
def engine() -> Engine:
    return Engine(ScriptedServer(), Limits(2, True), "ollama", "http://127.0.0.1:11434", "")


async def test_before_a_load_nothing_is_known_and_nothing_claimed(
    supervisor: Supervisor, engine: Engine
) -> None:
    shown = describe_model(engine, supervisor)
    assert (shown.engine, shown.address, shown.state) == ("ollama", "http://127.0.0.1:11434", "absent")
    assert (shown.model, shown.window_tokens, shown.slots) == (None, None, None)
    facts = provenance(engine, supervisor)
    assert facts["engine"] == {"name": "ollama", "version": None, "mode": None, "prompt_cache_mib": None}
    assert dumps(facts)


async def test_after_a_load_the_model_and_the_engine_are_described(
    supervisor: Supervisor, engine: Engine
) -> None:
    await supervisor.ensure(Load("m", 1_024, 2), lambda: True, 1_024)
    shown = describe_model(engine, supervisor)
    assert (shown.state, shown.model, shown.window_tokens, shown.slots) == ("resident", "m", 1_024, 2)
    facts = provenance(engine, supervisor)
    assert facts["batchd"] == __version__
    assert facts["engine"] == {"name": "ollama", "version": "1.0", "mode": "own", "prompt_cache_mib": None}
    assert dumps(facts)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.ABSENT, "absent"),
        (State.LOADING, "loading"),
        (State.CANARY, "loading"),
        (State.READY, "resident"),
        (State.SUSPECT, "cooling"),
        (State.COOLING, "cooling"),
    ],
)
def test_every_state_has_a_word_of_the_status(
    supervisor: Supervisor, engine: Engine, state: State, word: str
) -> None:
    supervisor.standing = Standing(state, "why")
    assert describe_model(engine, supervisor).state == word
    assert describe_model(engine, supervisor).detail == "why"


async def test_a_lost_model_is_shown_with_the_reason(supervisor: Supervisor, engine: Engine) -> None:
    await supervisor.ensure(Load("m", 1_024, 2), lambda: True, 1_024)
    supervisor.suspect(crash("unexpected EOF"))
    shown = describe_model(engine, supervisor)
    assert (shown.state, shown.model, shown.detail) == ("cooling", None, "unexpected EOF")


def test_cards_of_a_driver_that_fails_are_unknown_and_not_none_at_all(
    supervisor: Supervisor, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["batchd.app.provenance"]  # the package has a function of that name
    monkeypatch.setattr(module, "read_cards", lambda: ((), "NVIDIA's driver hangs"))
    assert provenance(engine, supervisor)["gpus"] is None
