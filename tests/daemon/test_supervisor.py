"""The supervisor as a playbook: what the server answers, and what it is asked next."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from batchd.core.course import Cohort
from batchd.core.fault import TOLD_CHARS_MAX, Category, ModelFault
from batchd.core.limits import LOADED, Change, Limits
from batchd.core.model import Load, Loaded
from batchd.core.request import Endpoint, Message, Request
from batchd.core.serverstate import State
from batchd.core.standing import CANARY_REFUSALS_MAX
from batchd.daemon.supervisor import COOLING_CAP_S, COOLING_LOAD_CAP_S, Supervisor
from batchd.errors import UnavailableError
from tests.fakes.fake_clock import FakeClock
from tests.fakes.scripted_model import (
    Played,
    Script,
    ScriptedServer,
    answer,
    crash,
    displaced,
    hiccup,
    hung,
    missing_model,
    out_of_memory,
    out_of_order,
    overflow,
    refused,
    unreachable,
    vector,
)

LOAD = Load("m", 1_024, 4)


def always() -> bool:
    return True


def times(count: int) -> Callable[[], bool]:
    """True so many times."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


class World:
    def __init__(self, script: Script | None = None, limits: Limits | None = None, runs: bool = True) -> None:
        self.server = ScriptedServer(script)
        self.clock = FakeClock(runs=runs)
        self.changes: list[Change] = []
        self.supervisor = Supervisor(
            self.server, self.clock, limits or Limits(4, owns_slots=True), self.changes.append
        )

    async def ensure(
        self, load: Load = LOAD, is_wanted: Callable[[], bool] = always, window_tokens_min: int = 1_024
    ) -> Loaded | ModelFault | None:
        return await self.supervisor.ensure(load, is_wanted, window_tokens_min)

    @property
    def state(self) -> State:
        return self.supervisor.standing.state


async def test_a_load_and_a_good_canary_make_it_ready() -> None:
    world = World()
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert world.server.calls == ["load m 1024x4", "canary"]
    assert (world.state, world.supervisor.standing.loaded) == (State.READY, loaded)
    assert world.supervisor.description is not None
    assert repr(world.supervisor).startswith("Supervisor(ready, Load(model='m'")


async def test_the_same_load_twice_does_not_load_again() -> None:
    world = World()
    assert await world.ensure() is await world.ensure()
    assert world.server.calls == ["load m 1024x4", "canary"]


@pytest.mark.parametrize(
    "other", [Load("m", 2_048, 4), Load("other", 1_024, 4), Load("m", 1_024, 2), Load("m", 1_024, 4, True)]
)
async def test_any_other_load_is_a_reload(other: Load) -> None:
    script = Script().answers("canary", answer(), vector() if other.is_embedding else answer())
    world = World(script)
    await world.ensure()
    await world.ensure(other)
    assert [call.split()[0] for call in world.server.calls] == ["load", "canary", "load", "canary"]


async def test_no_more_slots_are_asked_for_than_are_allowed() -> None:
    world = World(limits=Limits(1, owns_slots=False))
    await world.ensure()
    assert world.server.calls[0] == "load m 1024x1"


async def test_a_model_that_others_put_out_is_told_once_and_proven_again(said: list[str]) -> None:
    world = World(Script().answers("hi", *[replace(answer(), reload_s=3.0)] * 2))
    request = Request("hi", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    await world.ensure()
    for _ in range(2):
        await world.supervisor.answer(request, 0, 5)
    told = [(change.name, change.evidence) for change in world.changes if change.name != LOADED]
    assert told == [("model_displaced", "a request waited 3.0 s for it")]
    assert any("model_displaced" in line for line in said)
    assert world.supervisor.finished(Cohort(4, 40, 4.0, True, 1.0))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls[-2:] == ["load m 1024x4", "canary"]
    assert "restart" not in world.server.calls


async def test_a_server_that_goes_right_after_its_load_is_waited_for() -> None:
    world = World()
    world.server.strangers = [unreachable()]
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls == ["load m 1024x4", "restart", "load m 1024x4", "canary"]


async def test_tokens_are_counted_by_the_server() -> None:
    world = World()
    world.server.counted.clear()
    request = Request("hi", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    assert await world.supervisor.count_tokens(request) is None
    assert world.server.counted == ["hi"]


async def test_a_canary_that_fails_cools_and_begins_with_a_restart() -> None:
    world = World(Script().answers("canary", crash(), answer()))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls == ["load m 1024x4", "canary", "restart", "load m 1024x4", "canary"]


async def test_a_canary_that_is_refused_again_and_again_is_the_models_fault() -> None:
    world = World(Script().answers("canary", *[refused("does not support chat")] * CANARY_REFUSALS_MAX))
    fault = await world.ensure()
    assert isinstance(fault, ModelFault)
    assert (fault.is_temporary, fault.message) == (False, "does not support chat")
    assert world.server.calls.count("canary") == CANARY_REFUSALS_MAX
    assert world.state is State.ABSENT


async def test_one_refused_canary_proves_nothing() -> None:
    world = World(Script().answers("canary", refused(), answer()))
    assert isinstance(await world.ensure(), Loaded)


async def test_a_missing_model_is_said_at_once() -> None:
    world = World(Script().loads(missing_model()))
    assert await world.ensure() == missing_model()
    assert world.server.calls == ["load m 1024x4"]
    assert world.state is State.ABSENT


async def test_after_a_permanent_fault_another_model_can_be_loaded() -> None:
    world = World(Script().loads(missing_model()))
    await world.ensure()
    assert isinstance(await world.ensure(Load("other", 1_024, 1)), Loaded)
    assert "restart" not in world.server.calls


async def test_out_of_memory_halves_our_own_slots_and_says_so(said: list[str]) -> None:
    world = World(Script().loads(out_of_memory(), out_of_memory()))
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 1
    halved = [change for change in world.changes if change.name == "slots_halved"]
    assert [(change.old, change.new) for change in halved] == [("4", "2"), ("2", "1")]
    assert "out of memory" in world.changes[0].cause
    assert any("slots_halved: 4 -> 2" in line for line in said)
    assert world.clock.slept == []
    # The next section asks for four again, and gets what fits without a reload.
    assert await world.ensure() is loaded


async def test_out_of_memory_waits_where_the_slots_are_not_ours() -> None:
    world = World(Script().loads(out_of_memory(), out_of_memory()), Limits(4, owns_slots=False))
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert (loaded.slots, [change.name for change in world.changes]) == (4, [LOADED])
    assert sum(world.clock.slept) > 0


async def test_a_window_that_does_not_fit_goes_back_to_the_one_that_did(said: list[str]) -> None:
    world = World(Script().holds_in_memory(lambda load: load.window_tokens * load.slots <= 8_192))
    await world.ensure(Load("m", 2_048, 4))
    larger = await world.ensure(Load("m", 32_768, 4))
    assert isinstance(larger, Loaded)
    assert (larger.window_tokens, larger.slots, larger.memory_window_tokens_max) == (8_192, 1, 8_192)
    assert [call for call in world.server.calls if "load" in call] == [
        "load m 2048x4",
        "load m 32768x4",
        "load m 32768x2",
        "load m 32768x1",
        "load m 16384x1",
        "load m 8192x1",
    ]
    assert any("window_reduced: 32768 -> 16384" in line for line in said)


async def test_no_window_is_tried_between_the_one_that_fits_and_the_one_that_does_not() -> None:
    world = World(Script().holds_in_memory(lambda load: load.window_tokens <= 2_048))
    await world.ensure(Load("m", 2_048, 4))
    back = await world.ensure(Load("m", 4_096, 4))
    assert isinstance(back, Loaded)
    assert (back.window_tokens, back.slots, back.memory_window_tokens_max) == (2_048, 4, 2_048)


async def test_memory_that_somebody_else_took_is_waited_for_and_then_asked_for_as_before() -> None:
    taken = iter([False, True, True, True, True])  # a death halves the slots, then nothing fits for a while
    world = World(Script().holds_in_memory(lambda load: not next(taken, False)))
    await world.ensure(Load("m", 2_048, 4))
    world.supervisor.suspect(crash())
    again = await world.ensure(Load("m", 2_048, 4))
    assert isinstance(again, Loaded)
    loads = [call for call in world.server.calls if "load" in call]
    assert loads[1:] == [f"load m 2048x{slots}" for slots in (2, 1, 4, 2, 1)]
    assert sum(world.clock.slept) > 0


async def test_a_first_load_shrinks_no_further_than_some_request_needs() -> None:
    world = World(Script().holds_in_memory(lambda load: load.window_tokens <= 1_024))
    assert await world.ensure(Load("m", 4_096, 1), times(9), window_tokens_min=2_048) is None
    loads = [call for call in world.server.calls if "load" in call]
    assert loads[:3] == ["load m 4096x1", "load m 2048x1", "load m 4096x1"]


async def test_another_model_and_another_batch_forget_what_did_not_fit() -> None:
    world = World(Script().holds_in_memory(lambda load: load.window_tokens <= 2_048))
    await world.ensure(Load("m", 2_048, 4))
    await world.ensure(Load("m", 4_096, 4))
    world.supervisor.begin_account()
    count = len(world.server.calls)
    await world.ensure(Load("m", 4_096, 4))
    assert world.server.calls[count] == "load m 4096x4"
    count = len(world.server.calls)
    await world.ensure(Load("other", 1_024, 4))
    assert world.server.calls[count] == "load other 1024x4"


async def test_a_daemon_waits_for_the_person_who_mends_the_set_up() -> None:
    world = World(Script().loads(out_of_order(), out_of_order()))
    assert isinstance(await world.ensure(), Loaded)
    assert sum(world.clock.slept) > 0


async def test_a_foreground_run_says_at_once_what_must_be_mended() -> None:
    world = World(Script().loads(out_of_order()))
    world.supervisor = Supervisor(
        world.server, world.clock, Limits(4, True), world.changes.append, waits_for_operator=False
    )
    with pytest.raises(UnavailableError, match="cannot be used: the key is wrong"):
        await world.ensure()
    assert world.clock.slept == []


async def test_a_server_out_of_reach_is_waited_for_with_growing_pauses(said: list[str]) -> None:
    world = World(Script().restarts(*[unreachable()] * 9).loads(unreachable()))
    started = world.clock.monotonic()
    assert isinstance(await world.ensure(), Loaded)
    waited = world.clock.monotonic() - started
    assert COOLING_CAP_S < waited < 10 * COOLING_CAP_S
    assert max(world.clock.slept) <= 0.5
    assert sum("connection refused" in line for line in said) == 1


async def test_trouble_at_each_load_is_said_once_per_change(said: list[str]) -> None:
    world = World(Script().loads(hiccup("busy"), hiccup("busy"), hiccup("busy"), hiccup("other")))
    await world.ensure()
    assert [sum(text in line for line in said) for text in ("not ready: busy", "not ready: other")] == [1, 1]


async def test_a_pause_says_why_and_when_the_next_try_is() -> None:
    world = World(Script().loads(*[hiccup("no card")] * 5), runs=False)
    async with asyncio.TaskGroup() as group:
        ensuring = group.create_task(world.ensure())
        for _ in range(5):
            await asyncio.sleep(0)
        standing = world.supervisor.standing
        assert (standing.state, standing.detail) == (State.COOLING, "no card")
        assert standing.next_try_at is not None
        assert 0.3 < standing.next_try_at - world.clock.now() < 0.5
        ensuring.cancel()


async def test_a_wait_ends_when_the_operators_patience_does() -> None:
    world = World(Script().loads(*[out_of_memory()] * 10_000))
    world.supervisor.give_up_s = 3_600.0
    began = world.clock.monotonic()
    fault = await world.ensure()
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, world.state) == (Category.OOM, False, State.GIVEN_UP)
    assert 3_600 <= world.clock.monotonic() - began < 3_600 + 2 * COOLING_LOAD_CAP_S
    # The next one who wants it begins with a restart.
    count = len(world.server.calls)
    await world.ensure(is_wanted=times(3))
    assert world.server.calls[count] == "restart"


async def test_a_server_that_dies_again_and_again_is_left_alone_for_a_while(said: list[str]) -> None:
    world = World(limits=Limits(1, owns_slots=False))
    for _ in range(4):
        await world.ensure()
        before = len(world.clock.slept)
        world.supervisor.suspect(crash())
    await world.ensure()
    assert sum(world.clock.slept[before:]) >= 5.0
    assert any("the model server died 4 times of late" in line for line in said)


async def test_suspects_on_trial_do_not_count_as_deaths() -> None:
    world = World(limits=Limits(4, owns_slots=True))
    for _ in range(9):
        await world.ensure()
        world.supervisor.suspect(crash(), is_trial=True)
    assert isinstance(await world.ensure(), Loaded)
    assert world.clock.slept == []
    assert [change.name for change in world.changes] == [LOADED] * 10


async def test_requests_in_flight_make_it_busy() -> None:
    world = World(Script().holds("a"))
    await world.ensure()
    request = Request("a", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.supervisor.answer(request, 0, 1.0))
        await world.server.sent_to(1)
        assert (world.state, world.supervisor.standing.is_ready) == (State.BUSY, True)
        world.server.release()
    assert world.state is State.READY
    assert world.supervisor.standing.loaded is not None


async def test_a_slow_server_is_looked_at_and_stays_where_its_canary_is_as_it_was() -> None:
    world = World()
    await world.ensure()
    assert not world.supervisor.finished(Cohort(32, 32_000, 60.0, True, 0.0))
    assert world.supervisor.finished(Cohort(32, 3_200, 60.0, True, 0.0))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls == ["load m 1024x4", "canary"] * 2
    assert not world.supervisor.finished(Cohort(32, 3_200, 60.0, True, 0.0))


@pytest.mark.parametrize("is_at_work", [True, False])
async def test_after_a_sleep_of_the_machine_the_model_is_proven_again_once(is_at_work: bool) -> None:
    world = World()
    await world.ensure()
    world.supervisor.woke()
    if is_at_work:
        assert world.supervisor.finished(Cohort(4, 400, 1.0, False, 0.0))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls == ["load m 1024x4", "canary"] * 2
    assert not world.supervisor.finished(Cohort(4, 400, 1.0, False, 0.0))
    await world.ensure()
    assert len(world.server.calls) == 4


async def test_a_slow_server_whose_canary_is_slow_too_is_restarted() -> None:
    world = World()
    await world.ensure()
    world.supervisor.finished(Cohort(32, 32_000, 60.0, True, 0.0))
    world.supervisor.finished(Cohort(32, 3_200, 60.0, True, 0.0))
    world.server.on_sent("canary", lambda: world.clock.pass_by(60.0))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls[2:] == ["load m 1024x4", "canary", "restart", "load m 1024x4", "canary"]


async def test_a_cohort_that_raises_the_slots_asks_for_another_load() -> None:
    world = World(limits=Limits(4, owns_slots=False))
    await world.ensure()
    world.supervisor.suspect(crash())
    assert await world.ensure() is not None
    said = [world.supervisor.finished(Cohort(4, 400, 10.0, True, 0.0)) for _ in range(3)]
    assert said == [False, False, True]
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 3


async def test_a_worn_load_is_put_out_and_made_again() -> None:
    world = World(limits=Limits(1, owns_slots=False))
    await world.ensure()
    world.supervisor.finished(Cohort(100, 100, 10.0, False, 0.0))
    world.supervisor.suspect(crash())
    await world.ensure()
    assert world.supervisor.finished(Cohort(100, 100, 10.0, False, 0.0))
    count = len(world.server.calls)
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls[count:] == ["restart", "load m 1024x1", "canary"]
    assert world.clock.slept == []


async def test_a_machine_short_of_memory_is_asked_for_less_at_the_end_of_a_cohort() -> None:
    world = World()
    world.supervisor.press("nobody is loaded")
    await world.ensure()
    world.supervisor.press("97 % of the card")
    assert world.supervisor.finished(Cohort(4, 400, 10.0, True, 0.0))
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 2
    assert [change.evidence for change in world.changes if change.name == "slots_halved"] == [
        "97 % of the card"
    ]


async def test_a_verdict_gives_back_what_a_guilty_request_cost() -> None:
    world = World()
    await world.ensure()
    world.supervisor.suspect(crash())
    await world.ensure()
    world.supervisor.judged(("poison",), 1)
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 4


async def test_a_load_beside_the_card_is_made_smaller() -> None:
    world = World(Script().has_card_for(2), Limits(4, True, has_card=True))
    loaded = await world.ensure()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 2
    assert world.server.calls == ["load m 1024x4", "load m 1024x2", "canary"]


async def test_a_cohort_of_a_server_that_is_lost_is_of_no_account() -> None:
    world = World()
    assert not world.supervisor.finished(Cohort(4, 400, 1.0, True, 0.0))


async def test_nobody_wanting_it_any_more_ends_the_wait() -> None:
    world = World(Script().loads(*[unreachable()] * 100))
    assert await world.ensure(is_wanted=times(4)) is None
    assert world.state is State.COOLING


async def test_nobody_wanting_it_at_all_asks_nothing() -> None:
    world = World()
    assert await world.ensure(is_wanted=lambda: False) is None
    assert world.server.calls == []


async def test_time_passes_on_the_clock_alone() -> None:
    world = World(Script().loads(hiccup()), runs=False)
    async with asyncio.TaskGroup() as group:
        ensured = group.create_task(world.ensure())
        for _ in range(5):
            await asyncio.sleep(0)
        assert (world.state, world.supervisor.standing.detail) == (State.COOLING, "server busy")
        await world.clock.advance(0.3)
        assert not ensured.done()
        await world.clock.advance(0.3)
    assert isinstance(ensured.result(), Loaded)


async def test_a_suspect_is_restarted_before_it_is_loaded_again() -> None:
    world = World()
    await world.ensure()
    world.supervisor.suspect(crash())
    assert world.state is State.SUSPECT
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls[2:] == ["restart", "load m 1024x2", "canary"]


async def test_a_restart_that_fails_is_tried_again() -> None:
    world = World(Script().restarts(hiccup()))
    await world.ensure()
    world.supervisor.suspect(crash())
    await world.ensure()
    assert world.server.calls[2:] == ["restart", "restart", "load m 1024x2", "canary"]


async def test_a_death_is_said_once_however_many_requests_report_it(said: list[str]) -> None:
    world = World()
    await world.ensure()
    for _ in range(3):
        world.supervisor.suspect(crash())
    assert sum("model server lost" in line for line in said) == 1


async def test_requests_pass_through() -> None:
    world = World(Script().answers("a", answer("text")))
    request = Request("a", Endpoint.CHAT, "m", (Message("user", "hi"),), (), {}, 16)
    got = await world.supervisor.answer(request, 3, 1.0)
    assert got == answer("text")
    assert world.server.slots == {"a": 3}


async def test_an_embedding_models_canary_embeds() -> None:
    asked: list[Request] = []

    class Watched(ScriptedServer):
        async def answer(self, request: Request, slot: int, timeout_s: float) -> "object":  # type: ignore[override]
            asked.append(request)
            return vector()

    world = World()
    world.supervisor = Supervisor(Watched(), world.clock, Limits(4, True), world.changes.append)  # type: ignore[arg-type]
    await world.ensure(Load("e", 512, 1, is_embedding=True))
    assert [(request.endpoint, request.inputs) for request in asked] == [(Endpoint.EMBEDDINGS, ("ready?",))]


async def test_release_puts_the_model_out_and_the_next_ensure_loads() -> None:
    world = World()
    await world.supervisor.release()
    assert world.server.calls == []
    await world.ensure()
    await world.supervisor.release()
    assert (world.server.calls[-1], world.state) == ("unload", State.ABSENT)
    await world.ensure()
    assert world.server.calls[3:] == ["load m 1024x4", "canary"]


async def test_each_load_is_told_with_what_its_canary_read() -> None:
    world = World()
    await world.ensure()
    assert [(change.name, change.old) for change in world.changes] == [(LOADED, "10")]
    assert world.changes[0].new == "m sha256:1 Q4_1, window 1024 tokens, 4 slots, scripted 1.0"


async def test_one_odd_refusal_of_a_load_is_no_judgement_on_every_request() -> None:
    odd = ModelFault(Category.CONTEXT_LENGTH, "m", is_temporary=False, code="context_length_exceeded")
    world = World(Script().loads(odd, odd))
    assert isinstance(await world.ensure(), Loaded)
    world = World(Script().loads(odd, odd, odd))
    assert await world.ensure() == odd


async def test_what_a_server_says_at_length_is_shortened() -> None:
    world = World(Script().loads(ModelFault(Category.MODEL, "x" * 5_000, is_temporary=False)))
    await world.ensure()
    assert len(world.supervisor.standing.detail) == TOLD_CHARS_MAX


async def test_nothing_that_is_told_of_a_fault_has_the_words_of_its_prompt(said: list[str]) -> None:
    secret = "Zebulon"
    quoting = ModelFault(Category.CRASH, f"runner died at: {secret}", is_temporary=True, is_server_lost=True)
    world = World(Script().answers("a", quoting))
    await world.ensure()
    request = Request("a", Endpoint.CHAT, "m", (Message("user", f"My name is {secret}."),), (), {}, 8)
    fault = await world.supervisor.answer(request, 0, 5)
    assert isinstance(fault, ModelFault)
    assert secret in fault.message  # for the submitter's own error line
    world.supervisor.suspect(fault)
    assert world.supervisor.standing.detail == "runner died at: ***"
    await world.ensure()
    assert "runner died at" in f"{world.changes[1:]}"
    assert secret not in f"{said} {world.changes} {world.supervisor.standing}"
    assert any("runner died at" in line for line in said)


async def test_another_clients_model_is_waited_for_with_growing_pauses_and_shrinks_nothing() -> None:
    world = World(Script().loads(None, *[displaced("theirs")] * 5))
    await world.ensure()
    world.supervisor.suspect(displaced("theirs"))
    assert isinstance(await world.ensure(), Loaded)
    assert {call for call in world.server.calls if call.startswith("load")} == {"load m 1024x4"}
    assert [change.name for change in world.changes] == ["model_loaded", "model_displaced", "model_loaded"]
    assert (world.changes[1].old, world.changes[1].new) == ("m", "theirs")
    assert "another client" in world.changes[1].evidence
    pauses = [duration_s for duration_s in world.clock.slept if duration_s > 0]
    assert sum(pauses) > 5
    world.supervisor.suspect(displaced("theirs"))  # after a good load it is said again
    assert [change.name for change in world.changes].count("model_displaced") == 2


async def test_while_another_clients_model_is_waited_for_the_status_says_whose() -> None:
    world = World(Script().loads(None, displaced("theirs")))
    await world.ensure()
    world.supervisor.suspect(displaced("theirs"))
    assert "theirs" in world.supervisor.standing.detail
    await world.ensure(is_wanted=times(4))
    assert world.state is State.COOLING
    assert world.supervisor.standing.detail == displaced("theirs").message


async def test_a_server_that_stands_aside_says_why_and_keeps_nothing() -> None:
    world = World()
    await world.ensure()
    await world.supervisor.stand_aside("it has another model of that name")
    assert (world.state, world.supervisor.standing.detail) == (
        State.ABSENT,
        "it has another model of that name",
    )
    assert world.server.calls[-1] == "unload"
    assert isinstance(await world.ensure(), Loaded)


FAULTS: dict[str, Callable[[], ModelFault]] = {
    "crash": crash,
    "displaced": lambda: displaced("other"),
    "hiccup": hiccup,
    "hung": hung,
    "missing": missing_model,
    "memory": out_of_memory,
    "order": out_of_order,
    "overflow": lambda: overflow(5_000, 1_024),
    "refused": refused,
    "unreachable": unreachable,
}


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("kind", sorted(FAULTS))
@pytest.mark.parametrize("place", ["load", "canary", "restart"])
async def test_whatever_a_load_a_canary_or_a_restart_answers_has_its_way(
    place: str, kind: str, count: int
) -> None:
    faults = [FAULTS[kind]() for _ in range(count)]
    script = Script()
    if place == "load":
        script.loads(*faults)
    elif place == "canary":
        script.answers("canary", *faults, *[answer()] * 20)
    else:
        script.loads(crash()).restarts(*faults)
    world = World(script)
    came = await world.ensure()
    assert isinstance(came, Loaded | ModelFault)
    assert isinstance(came, ModelFault) or world.state is State.READY


async def test_a_restart_that_is_out_of_memory_asks_for_less() -> None:
    world = World(Script().loads(crash()).restarts(out_of_memory(), None))
    assert isinstance(await world.ensure(), Loaded)
    assert world.server.calls == ["load m 1024x4", "restart", "restart", "load m 1024x2", "canary"]


@pytest.mark.parametrize("act", ["suspect", "release"])
@pytest.mark.parametrize("place", ["load", "canary"])
async def test_what_happens_while_a_model_is_made_ready_ends_nobody_and_is_begun_anew(
    place: str, act: str
) -> None:
    """A late request reports a death, or the model is put out, in the middle of a load or of a canary."""

    class Disturbed(ScriptedServer):
        async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
            await disturb("load")
            return await super().load(load, timeout_s)

        async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
            await disturb("canary")
            return await super().answer(request, slot, timeout_s)

    async def disturb(where: str) -> None:
        if where == place and not disturbed:
            disturbed.append(where)
            if act == "suspect":
                supervisor.suspect(crash())
            else:
                await supervisor.release()

    disturbed: list[str] = []
    server = Disturbed(Script().answers("canary", *[answer()] * 3))
    supervisor = Supervisor(server, FakeClock(), Limits(4, owns_slots=True), lambda change: None)
    assert isinstance(await supervisor.ensure(LOAD, always, 1_024), Loaded)
    assert supervisor.standing.is_ready
    assert server.calls.count("canary") == (2 if place == "canary" else 1)
