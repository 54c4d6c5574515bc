"""The contract, and what only the real thing can show, against a real Ollama.

SUMMARY
    BATCHD_TEST_OLLAMA    path of an ollama binary (with OLLAMA_MODELS): an own server is started
    OLLAMA_HOST           a server that runs: it is attached to
    The model is smollm2:135m; without one of the two, or without the model, everything is skipped.

DIAGNOSTICS
    None.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import ollama
import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, ServerDescription
from batchd.daemon.ports import ModelServer
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import OwnOllama
from batchd.edges.sockets import held_by
from tests.contract.test_model_server_contract import (
    ModelServerContract,
    RealClock,
    answer_or_fail,
    chat,
    loaded_or_fail,
)

MODEL = "smollm2:135m"

pytestmark = pytest.mark.live


async def _or_skip(server: OllamaServer) -> OllamaServer:
    """Skip when the server is silent or lacks the model."""
    loaded = await server.load(Load(MODEL, 512, 2), 120)
    if isinstance(loaded, ModelFault):
        await server.close()
        pytest.skip(f"no usable Ollama with {MODEL}: {loaded.message}")
    await server.unload(60)
    return server


@pytest.fixture
def model() -> str:
    return MODEL


@pytest.mark.timeout(300)
class TestOllamaOwnLive(ModelServerContract):
    @pytest.fixture
    async def server(self) -> AsyncIterator[ModelServer]:
        binary = os.environ.get("BATCHD_TEST_OLLAMA")
        if binary is None:
            pytest.skip("BATCHD_TEST_OLLAMA names no ollama binary")
        own = OwnOllama(binary, 2, os.environ, RealClock(), held_by)
        server = await _or_skip(OllamaServer("", "own", RealClock(), own=own))
        yield server
        await server.close()

    async def test_a_killed_runner_is_a_crash_and_the_next_load_works(
        self, resident: ModelServer, model: str
    ) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(
                resident.answer(chat(model, "Write a very long story.", bound=400), 0, self.timeout_s)
            )
            await asyncio.sleep(1)
            _signal_runners(signal.SIGKILL)
        fault = task.result()
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.CRASH, True, True)
        loaded_or_fail(await resident.load(Load(model, self.window, self.slots), self.timeout_s))
        assert isinstance(await resident.answer(chat(model, "hi", bound=1), 0, self.timeout_s), Answer)

    async def test_a_hung_runner_is_a_timeout_and_a_restart_frees_it(
        self, resident: ModelServer, model: str
    ) -> None:
        _signal_runners(signal.SIGSTOP)
        fault = await resident.answer(chat(model, "hi", bound=1), 0, 2)
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_server_lost) == (Category.TIMEOUT, True)
        assert await resident.restart(self.timeout_s) is None
        loaded_or_fail(await resident.load(Load(model, self.window, self.slots), self.timeout_s))
        assert isinstance(await resident.answer(chat(model, "hi", bound=1), 0, self.timeout_s), Answer)
        assert not _stopped_runners()

    async def test_slots_really_change_with_an_own_server(self, resident: ModelServer, model: str) -> None:
        loaded = loaded_or_fail(await resident.load(Load(model, self.window, 1), self.timeout_s))
        assert loaded.slots == 1
        two = loaded_or_fail(await resident.load(Load(model, self.window, 2), self.timeout_s))
        assert two.size_bytes is not None
        assert loaded.size_bytes is not None
        assert two.size_bytes > loaded.size_bytes


@pytest.mark.timeout(300)
class TestOllamaAttachedLive(ModelServerContract):
    slots = 1  # an attached server's slots are not ours; one is what every server has

    @pytest.fixture
    async def server(self) -> AsyncIterator[ModelServer]:
        host = os.environ.get("OLLAMA_HOST")
        if host is None:
            pytest.skip("OLLAMA_HOST names no Ollama")
        server = await _or_skip(OllamaServer(host, "attach", RealClock()))
        yield server
        await server.unload(60)
        await server.close()

    @pytest.fixture(autouse=True)
    async def _by_version(self, server: ModelServer) -> None:
        """Cached tokens are told from 0.33.3 on."""
        described = await server.describe(self.timeout_s)
        assert isinstance(described, ServerDescription)
        numbers = described.version.split("-")[0].split(".")
        self.tells_cached = tuple(map(int, numbers)) >= (0, 33, 3)

    async def test_an_unload_gives_back_five_minutes(self, resident: ModelServer, model: str) -> None:
        await resident.unload(self.timeout_s)
        async with ollama.AsyncClient(os.environ["OLLAMA_HOST"]) as client:
            listed = (await client.ps()).models
        expires_at = next(entry.expires_at for entry in listed if entry.model == model)
        assert expires_at is not None
        assert expires_at.year < 2300  # for ever is written as a year beyond

    async def test_a_model_that_lies_there_is_used_as_it_lies(self, server: ModelServer, model: str) -> None:
        """As others load it: a larger window, and nothing said of shifting. Another load would have ours."""
        async with ollama.AsyncClient(os.environ["OLLAMA_HOST"]) as client:
            await client.generate(model, options={"num_ctx": 2 * self.window}, keep_alive="5m")
            load = Load(model, self.window, self.slots, accepts_larger=True)
            loaded = loaded_or_fail(await server.load(load, self.timeout_s))
            assert loaded.window_tokens == 2 * self.window
            answer_or_fail(await server.answer(chat(model, "hi", bound=2), 0, self.timeout_s))
            listed = (await client.ps()).models
        assert [it.context_length for it in listed if it.model == model] == [2 * self.window]

    async def test_chat_markup_in_a_text_is_markup_to_the_engine(
        self, resident: ModelServer, model: str
    ) -> None:
        marks = ("<|im_end|>" * 20, "<|im_and|>" * 20)
        told = [await resident.answer(chat(model, text, bound=1), 0, self.timeout_s) for text in marks]
        markup, text = (answer_or_fail(it).usage.prompt_tokens for it in told)
        assert text - markup > 60

    async def test_the_same_prompt_has_the_same_answer(self, resident: ModelServer, model: str) -> None:
        request = chat(model, "Say hi.", bound=8, temperature=0.0, seed=1)
        first = answer_or_fail(await resident.answer(request, 0, self.timeout_s))
        again = answer_or_fail(await resident.answer(request, 0, self.timeout_s))
        assert first.text == again.text


def _runners() -> list[int]:
    """Children of the own server of this very test process, in any depth of two."""
    children = _children(os.getpid())
    return [pid for child in children for pid in _children(child) if "llama" in _name(pid)]


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry.parent.name))
    return found


def _name(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")[0]
    except OSError:
        return ""


def _signal_runners(number: signal.Signals) -> None:
    runners = _runners()
    assert runners, "the own server has no runner"
    for pid in runners:
        os.kill(pid, number)


def _stopped_runners() -> list[int]:
    return [pid for pid in _runners() if " T " in (Path("/proc") / str(pid) / "stat").read_text()]
