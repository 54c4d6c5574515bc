"""Another client of an attached server loads a model: it is let be, and nothing of ours is to blame."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama.rivals import YIELD_S, Patience
from tests.contract.test_model_server_contract import RealClock, chat
from tests.fakes.fake_clock import FakeClock
from tests.simulator import Settings, Simulator

LOAD = Load("smollm2:135m", 1024, 2)
RIVAL = "gemma3:270m"


class LateClock(RealClock):
    """Later by `ahead_s`."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@contextlib.asynccontextmanager
async def other_client(simulator: Simulator, keep_alive: str) -> AsyncIterator[None]:
    """It asks its own model, and has its answer at the end of the block."""
    simulator.faults.poison["Take your time."], simulator.faults.is_released = "held", False
    body = {
        "model": RIVAL,
        "messages": [{"role": "user", "content": "Take your time."}],
        "keep_alive": keep_alive,
        "stream": False,
        "options": {"num_ctx": 512},
    }
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client, asyncio.TaskGroup() as group:
        asked = group.create_task(client.post(f"{simulator.address}/api/chat", json=body))
        while [runner.spec.name for runner in simulator.scheduler.runners] != [RIVAL]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        yield
        simulator.faults.is_released = True
        assert (await asked).status_code == 200


def taken(fault: object) -> bool:
    assert isinstance(fault, ModelFault), fault
    assert fault.message == f"The model '{RIVAL}' of another client has taken the memory; it is waited for."
    assert (fault.category, fault.is_temporary) == (Category.NETWORK, True)
    return fault.taken_by == RIVAL and fault.is_server_lost


async def test_a_request_that_waits_behind_another_clients_model_says_so_and_is_no_hang() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        assert isinstance(await server.load(LOAD, 10), Loaded)
        async with other_client(simulator, "1h"):
            assert taken(await server.answer(chat(LOAD.model, "a"), 0, 0.3))
            assert await server.restart(10) is None
            assert taken(await server.load(LOAD, 10)), "it is in use"
            assert taken(await server.load(LOAD, 10))
        assert isinstance(await server.load(LOAD, 10), Loaded)
        assert isinstance(await server.answer(chat(LOAD.model, "a"), 0, 10), Answer)
        await server.close()


async def test_a_server_that_loads_for_another_client_lists_nothing_and_is_no_hang() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock(), glance_s=0.2)
        assert isinstance(await server.load(LOAD, 10), Loaded)
        simulator.scheduler.hang()
        async with simulator.scheduler.unlisted:
            fault = await server.answer(chat(LOAD.model, "a"), 0, 0.2)
        await server.close()
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_server_lost) == (Category.NETWORK, True)
    assert "is loading a model" in fault.message


async def test_a_silence_of_a_server_that_lists_no_model_is_no_hang() -> None:
    """So it is while another client's model comes in: one of ours that hangs is still listed."""
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        assert isinstance(await server.load(LOAD, 10), Loaded)
        simulator.scheduler.hang()
        hung = await server.answer(chat(LOAD.model, "a"), 0, 0.2)
        simulator.scheduler._resident.clear()
        async with simulator.scheduler._loading:
            waiting = await server.answer(chat(LOAD.model, "a"), 0, 0.2)
        await server.close()
    assert isinstance(hung, ModelFault)
    assert isinstance(waiting, ModelFault)
    assert (hung.category, waiting.category) == (Category.TIMEOUT, Category.NETWORK)
    assert "is loading a model" in waiting.message


async def test_another_clients_model_that_is_idle_is_let_be_until_it_goes() -> None:
    """Its client may come back at once: Ollama itself gives it five minutes."""
    async with Simulator(Settings(max_loaded=2)) as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        async with other_client(simulator, "1h"):
            simulator.set_memory(1)
            assert taken(await server.load(LOAD, 10))
        simulator.set_memory(None)
        [runner] = simulator.scheduler.runners
        runner.keep_alive_s = 3_600.0
        assert taken(await server.load(LOAD, 10))
        runner.keep_alive_s = 0.0
        assert isinstance(await server.load(LOAD, 10), Loaded)
        await server.close()


async def test_a_model_that_is_used_without_an_end_is_let_be_for_a_bounded_time() -> None:
    clock = LateClock()
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", clock)
        assert isinstance(await server.load(LOAD, 10), Loaded)
        async with asyncio.TaskGroup() as group, other_client(simulator, "-1m"):
            assert taken(await server.answer(chat(LOAD.model, "a"), 0, 0.2))
            await server.restart(10)
            clock.ahead_s = YIELD_S - 5
            assert taken(await server.load(LOAD, 10))
            clock.ahead_s = YIELD_S
            waiting = group.create_task(server.load(LOAD, 10))
            await asyncio.sleep(0.05)
            assert not waiting.done(), "it waits for its turn in the server"
        assert isinstance(waiting.result(), Loaded)
        assert isinstance(await server.answer(chat(LOAD.model, "a"), 0, 10), Answer)
        await server.close()


async def test_a_load_for_which_another_client_left_no_memory_is_not_too_large() -> None:
    settings = Settings(max_loaded=2)
    async with Simulator(settings) as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        async with other_client(simulator, "1m"):
            simulator.set_memory(1)
            assert taken(await server.load(LOAD, 10))
        await server.close()


async def test_a_death_with_no_other_model_in_sight_is_a_death() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        assert isinstance(await server.load(LOAD, 10), Loaded)
        simulator.faults.poison["poison"] = "kill"
        fault = await server.answer(chat(LOAD.model, "poison"), 0, 10)
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.taken_by) == (Category.CRASH, None)
        await server.close()


async def test_a_first_load_takes_its_turn_like_any_clients() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        async with other_client(simulator, "-1m"):
            pass
        assert isinstance(await server.load(LOAD, 10), Loaded)
        await server.close()


@pytest.mark.parametrize("names", [[], ["a"]])
def test_patience_begins_with_a_rival_and_ends_without(names: list[str]) -> None:
    patience = Patience(FakeClock())
    assert repr(patience) == "Patience(none needed)"
    fault = patience.met({"models": [{"name": name} for name in names]})
    assert (fault is not None, patience.is_waiting) == (bool(names), bool(names))
    patience.end()
    assert not patience.is_waiting
