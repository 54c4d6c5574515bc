"""The simulator's memory: what a load holds, and how it dies of too much."""

import httpx
import pytest

from tests.simulator import Machine, Settings, Simulator
from tests.simulator.machine import HOST_SLOWDOWN, Held

MODEL = "smollm2:135m"
FIXED = {"model": MODEL, "stream": False, "options": {"num_ctx": 1_024, "num_predict": 4}}


async def ask(client: httpx.AsyncClient, simulator: Simulator) -> httpx.Response:
    body = {**FIXED, "messages": [{"role": "user", "content": "hi"}]}
    return await client.post(f"{simulator.address}/api/chat", json=body)


async def listed(client: httpx.AsyncClient, simulator: Simulator) -> dict[str, int]:
    [entry] = (await client.get(f"{simulator.address}/api/ps")).json()["models"]
    return {name: entry[name] for name in ("size", "size_vram")}


def test_what_a_request_needs_ends_with_it_and_what_it_leaks_stays() -> None:
    held = Held(Machine(memory_bytes=100, spike_bytes=40, spike_share=0.5, leak_bytes=5), 50)
    greedy, modest = held.begin(0.0), held.begin(0.5)
    assert (greedy, modest, held.bytes, held.fits) == (40, 0, 90, True)
    held.begin(0.25)
    assert (held.bytes, held.fits) == (110, False)
    held.end(greedy, is_answered=True)
    held.end(modest, is_answered=False)
    assert held.bytes == 50 + 5 + 20


def test_a_model_beside_the_card_is_slow() -> None:
    machine = Machine(gpu_bytes=100)
    assert [machine.slowdown(size) for size in (100, 200)] == [1.0, 1.0 + (HOST_SLOWDOWN - 1) / 2]
    assert Machine().slowdown(200) == 1.0


@pytest.mark.parametrize(("is_silent", "words"), [(0, "CUDA error: out of memory"), (1, "unexpected EOF")])
async def test_a_leak_kills_the_runner_in_the_middle_and_a_load_cures_it(is_silent: int, words: str) -> None:
    size = Settings().models[0].memory_bytes(1_024, 1)
    settings = Settings(memory_bytes=size + 2_500_000, leak_bytes=1_000_000, dies_silently=is_silent)
    async with Simulator(settings) as simulator, httpx.AsyncClient() as client:
        answers = [await ask(client, simulator) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 500] * 2
    assert words in answers[3].json()["error"]
    assert simulator.counts.loads == 2


async def test_what_the_card_does_not_hold_is_on_the_host_and_nothing_fails() -> None:
    size = Settings().models[0].memory_bytes(1_024, 1)
    async with Simulator(Settings(gpu_bytes=size // 2)) as simulator, httpx.AsyncClient() as client:
        assert (await ask(client, simulator)).status_code == 200
        assert await listed(client, simulator) == {"size": size, "size_vram": size // 2}


async def test_loads_that_die_and_sizes_that_are_set() -> None:
    settings = Settings(dying_loads=1, weights_bytes=1_000, kv_bytes=1)
    async with Simulator(settings) as simulator, httpx.AsyncClient() as client:
        died = await ask(client, simulator)
        assert (died.status_code, "signal: killed" in died.json()["error"]) == (500, True)
        assert (await ask(client, simulator)).status_code == 200
        assert (await listed(client, simulator))["size"] == settings.specs()[0].memory_bytes(1_024, 1)
