"""The contract of the port `ModelServer`: one class for every engine.

SUMMARY
    A subclass gives the fixtures `server` (a ModelServer that is up, with nothing loaded) and `model` (the
    name of a small model that it knows), and may set `missing_model_text`, which the fault for an unknown
    model must have, and the limits.

DIAGNOSTICS
    None.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchd.app.late import with_late_usage
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source
from batchd.core.request import Endpoint, Message, Request
from batchd.daemon.ports import ModelServer
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import OwnOllama
from batchd.edges.sockets import held_by
from tests.simulator import Settings, Simulator
from tests.simulator.child import write_binary


class RealClock:
    """The loop's own time: contracts run against real servers."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


def chat(model: str, *texts: str, bound: int = 8, **parameters: object) -> Request:
    """The first text is the system's, where there are two."""
    roles = ("system", "user") if len(texts) > 1 else ("user",)
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=True))
    return Request("a", Endpoint.CHAT, model, messages, (), parameters, bound)


def completion(model: str, prompt: str, bound: int = 8) -> Request:
    return Request("a", Endpoint.COMPLETIONS, model, (), (prompt,), {"temperature": 0.0}, bound)


def loaded_or_fail(loaded: Loaded | ModelFault) -> Loaded:
    assert isinstance(loaded, Loaded), loaded
    return loaded


def answer_or_fail(answer: Answer | ModelFault) -> Answer:
    assert isinstance(answer, Answer), answer
    return answer


class ModelServerContract:
    """What every ModelServer does."""

    window = 512
    slots = 2
    tells_cached = True
    timeout_s = 50.0
    missing_model_text = "ollama pull"

    @pytest.fixture
    async def resident(self, server: ModelServer, model: str) -> ModelServer:
        loaded_or_fail(await server.load(Load(model, self.window, self.slots), self.timeout_s))
        return server

    async def test_it_says_who_answers(self, server: ModelServer) -> None:
        described = await server.describe(self.timeout_s)
        assert isinstance(described, ServerDescription)
        assert described.engine
        assert described.version
        assert described.address.startswith("http")

    async def test_a_load_says_what_is_held(self, server: ModelServer, model: str) -> None:
        loaded = loaded_or_fail(await server.load(Load(model, self.window, self.slots), self.timeout_s))
        assert (loaded.window_tokens, loaded.slots) == (self.window, self.slots)
        assert loaded.digest
        assert loaded.window_tokens_max is None or loaded.window_tokens_max >= self.window

    async def test_digests_are_told_without_a_load_and_unknown_names_left_out(
        self, server: ModelServer, model: str
    ) -> None:
        digests = await server.digests([model, "no-such-model:1b"], self.timeout_s)
        loaded = loaded_or_fail(await server.load(Load(model, self.window, self.slots), self.timeout_s))
        assert isinstance(digests, dict)
        assert digests[model] == loaded.digest

    async def test_another_window_is_really_loaded(self, resident: ModelServer, model: str) -> None:
        wider = loaded_or_fail(await resident.load(Load(model, 2 * self.window, self.slots), self.timeout_s))
        assert wider.window_tokens == 2 * self.window
        long = chat(model, "word " * self.window, bound=1)
        assert isinstance(await resident.answer(long, 0, self.timeout_s), Answer)

    async def test_a_chat_is_answered_within_its_bound(self, resident: ModelServer, model: str) -> None:
        answer = answer_or_fail(
            await resident.answer(
                chat(model, "You are terse.", "Count to one hundred.", bound=3), 0, self.timeout_s
            )
        )
        assert answer.text
        assert answer.usage.prompt_tokens > 3
        assert answer.usage.completion_tokens <= 3
        assert answer.finish_reason == "length"

    async def test_a_completion_is_answered(self, resident: ModelServer, model: str) -> None:
        answer = answer_or_fail(
            await resident.answer(completion(model, "One, two, three,", bound=4), 0, self.timeout_s)
        )
        assert answer.text
        assert 1 <= answer.usage.completion_tokens <= 4

    async def test_a_stop_string_ends_the_answer(self, resident: ModelServer, model: str) -> None:
        whole = answer_or_fail(
            await resident.answer(chat(model, "hi", bound=12, temperature=0.0, seed=1), 0, self.timeout_s)
        )
        stop = whole.text.strip()[3]
        cut = answer_or_fail(
            await resident.answer(
                chat(model, "hi", bound=12, temperature=0.0, seed=1, stop=(stop,)), 0, self.timeout_s
            )
        )
        assert stop not in cut.text
        assert cut.finish_reason == "stop"

    async def test_an_answer_follows_its_schema(self, resident: ModelServer, model: str) -> None:
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        form = {"type": "json_schema", "schema": schema}
        request = chat(
            model, "The age of Bob, who is 5", bound=40, temperature=0.0, seed=1, response_format=form
        )
        answer = answer_or_fail(await resident.answer(request, 0, self.timeout_s))
        assert answer.text.lstrip().startswith("{")
        assert '"age"' in answer.text

    async def test_a_prompt_beyond_the_window_is_refused_with_both_numbers(
        self, resident: ModelServer, model: str
    ) -> None:
        fault = await resident.answer(chat(model, "word " * 3 * self.window), 0, self.timeout_s)
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_temporary) == (Category.CONTEXT_LENGTH, False)
        assert fault.prompt_tokens is not None
        assert fault.prompt_tokens > self.window
        assert fault.window_tokens == self.window

    async def test_an_unknown_model_is_a_permanent_fault_that_says_what_to_do(
        self, server: ModelServer
    ) -> None:
        fault = await server.load(Load("no-such-model:1b", self.window, self.slots), self.timeout_s)
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_temporary) == (Category.MODEL, False)
        assert fault.code == "model_not_found"
        assert self.missing_model_text in fault.message

    async def test_a_shared_beginning_is_not_read_again(self, resident: ModelServer, model: str) -> None:
        rubric = "You review records of packages and say one word. " * 24
        await resident.answer(chat(model, rubric, "first", bound=1), 0, self.timeout_s)
        again = await with_late_usage(
            answer_or_fail(await resident.answer(chat(model, rubric, "again", bound=1), 0, self.timeout_s))
        )
        if not self.tells_cached:
            untold = (again.usage.cached_tokens, again.usage.cached_source, again.usage.evaluated_tokens)
            assert untold == (None, Source.UNKNOWN, None)
            return
        assert again.usage.is_counted
        assert again.usage.cached_tokens is not None
        assert again.usage.cached_tokens > again.usage.prompt_tokens // 2

    async def test_requests_side_by_side_get_their_own_answers(
        self, resident: ModelServer, model: str
    ) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(resident.answer(chat(model, f"Say {n}", bound=4), n, self.timeout_s))
                for n in range(self.slots)
            ]
        assert all(isinstance(task.result(), Answer) for task in tasks)

    async def test_a_time_limit_is_a_fault_and_the_slot_is_free_afterwards(
        self, resident: ModelServer, model: str
    ) -> None:
        fault = await resident.answer(chat(model, "Write a very long story.", bound=400), 0, 0.005)
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.TIMEOUT, True, True)
        assert isinstance(await resident.answer(chat(model, "hi", bound=1), 0, self.timeout_s), Answer)

    async def test_a_cancelled_call_frees_its_slot(self, resident: ModelServer, model: str) -> None:
        for slot in range(2 * self.slots):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await resident.answer(chat(model, "A very long story.", bound=400), slot, self.timeout_s)
        assert isinstance(await resident.answer(chat(model, "hi", bound=1), 0, self.timeout_s), Answer)

    async def test_after_a_restart_and_a_load_it_answers_again(
        self, resident: ModelServer, model: str
    ) -> None:
        assert await resident.restart(self.timeout_s) is None
        loaded_or_fail(await resident.load(Load(model, self.window, self.slots), self.timeout_s))
        assert isinstance(await resident.answer(chat(model, "hi", bound=1), 0, self.timeout_s), Answer)

    async def test_after_an_unload_nothing_is_answered_until_a_load(
        self, resident: ModelServer, model: str
    ) -> None:
        await resident.unload(self.timeout_s)
        assert isinstance(await resident.answer(chat(model, "hi"), 0, self.timeout_s), ModelFault)
        await resident.unload(self.timeout_s)
        loaded_or_fail(await resident.load(Load(model, self.window, self.slots), self.timeout_s))


#: Slow enough that a limit of some milliseconds strikes, fast enough for a test.
PACED = Settings(slots=2, prefill_rate=200_000, decode_rate=1_000, answer_tokens=400)


class TestOllamaAttached(ModelServerContract):
    """Attached to a simulated server that does not report cached tokens."""

    tells_cached = False

    @pytest.fixture
    def model(self) -> str:
        return "smollm2:135m"

    @pytest.fixture
    async def server(self) -> AsyncIterator[ModelServer]:
        async with Simulator(PACED) as simulator:
            server = OllamaServer(simulator.address, "attach", RealClock())
            yield server
            await server.close()
            assert not simulator.bugs


class TestOllamaOwn(ModelServerContract):
    """A child of ours, which reports cached tokens."""

    @pytest.fixture
    def model(self) -> str:
        return "smollm2:135m"

    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[ModelServer]:
        rates = {"prefill_rate": PACED.prefill_rate, "decode_rate": PACED.decode_rate}
        binary = write_binary(tmp_path, version="0.33.3", answer_tokens=PACED.answer_tokens, **rates)
        own = OwnOllama(str(binary), 4, {"PATH": "/usr/bin:/bin"}, RealClock(), held_by)
        server = OllamaServer("", "own", RealClock(), own=own)
        yield server
        await server.close()
