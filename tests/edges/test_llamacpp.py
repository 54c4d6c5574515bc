"""The llama.cpp edge against a scripted server: every answer and every trouble has its value."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source
from batchd.core.parameters import TRANSLATED
from batchd.core.request import Endpoint, Message, Request
from batchd.daemon.ports import ModelServer
from batchd.edges.llamacpp import TRANSLATES, Child, LlamaServer
from tests.edges.scripted_llama import MODELS, PROPS, TIMINGS, ScriptedChild, ScriptedLlama, chat_reply

CHAT = "/v1/chat/completions"

OOM_WORDS = (
    "ended with status 1\n"
    "0.00.224.506 E ggml_aligned_malloc: insufficient memory (attempted to allocate 1440.00 MB)\n"
    "0.00.224.700 E llama_init_from_model: failed to initialize the context\n"
    "Failed to init server, please check the input params."
)


def chat(bound: int = 5, **parameters: object) -> Request:
    messages = (Message("system", "Be brief."), Message("user", "Is it?"))
    return Request("a", Endpoint.CHAT, "little", messages, (), parameters, bound)


def embed(*texts: str, **parameters: object) -> Request:
    return Request("a", Endpoint.EMBEDDINGS, "little", (), texts, parameters, 0)


def fault_of(value: object) -> ModelFault:
    assert isinstance(value, ModelFault), value
    return value


def answer_of(value: object) -> Answer:
    assert isinstance(value, Answer), value
    return value


@pytest.fixture
async def script() -> AsyncIterator[ScriptedLlama]:
    async with ScriptedLlama() as server:
        yield server


@pytest.fixture
async def by_url(script: ScriptedLlama) -> AsyncIterator[LlamaServer]:
    server = LlamaServer(url=script.address + "/", key="k")
    assert isinstance(await server.load(Load("little", 512, 2), 5), Loaded)
    script.asked.clear()
    yield server
    await server.close()


class Embedded:
    """An embedded server whose children are scripted: `next` is what the next start gives."""

    def __init__(self, address: str, gguf: Path) -> None:
        self.next = ScriptedChild(address)
        self.started: list[ScriptedChild] = []
        self.server = LlamaServer(models={"little": gguf}, start_child=self._start)

    async def _start(self, gguf: Path, load: Load, timeout_s: float) -> Child:
        child, self.next = self.next, ScriptedChild(self.next.address)
        self.started.append(child)
        return child


@pytest.fixture
async def embedded(script: ScriptedLlama, tmp_path: Path) -> AsyncIterator[Embedded]:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"GGUF")
    made = Embedded(script.address, gguf)
    yield made
    await made.server.close()


def test_it_fits_the_port_and_the_table_of_parameters() -> None:
    server: ModelServer = LlamaServer(url="http://127.0.0.1:9")
    assert "9" in repr(server)
    assert {"dimensions"} == TRANSLATED - TRANSLATES
    assert TRANSLATES <= TRANSLATED


async def test_a_chat_goes_out_pinned_bounded_and_in_the_servers_words(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    script.replies[CHAT] = (200, chat_reply())
    schema = {"type": "object"}
    request = chat(
        temperature=0.5,
        top_p=0.9,
        seed=2**40 + 7,
        stop=("a", "b"),
        frequency_penalty=0.1,
        presence_penalty=-0.1,
        response_format={"type": "json_schema", "schema": schema},
        reasoning_effort="none",
    )
    answer_of(await by_url.answer(request, 1, 5))
    assert script.asked[0].headers["authorization"] == "Bearer k"
    assert script.asked[0].body == {
        "id_slot": 1,
        "cache_prompt": True,
        "max_tokens": 5,
        "stream": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "seed": (2**40 + 7) % (2**32 - 1),
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is it?"},
        ],
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_format": "deepseek",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }


async def test_what_was_not_asked_is_left_to_the_model(script: ScriptedLlama, by_url: LlamaServer) -> None:
    script.replies[CHAT] = (200, chat_reply())
    await by_url.answer(chat(), 0, 5)
    assert not {"temperature", "top_p", "seed", "stop", "response_format"} & set(script.asked[0].body)


async def test_an_answer_has_the_engines_own_counts_and_its_thoughts_apart(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    script.replies[CHAT] = (200, chat_reply("yes", reasoning_content="hm"))
    answer = answer_of(await by_url.answer(chat(), 0, 5))
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("yes", "hm", "stop")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (42, 5, 30)
    assert (usage.cached_source, usage.prefill_s, usage.decode_s) == (Source.ENGINE, 0.12, 0.05)


async def test_a_server_without_timings_is_believed_as_far_as_it_goes(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    script.replies[CHAT] = (200, chat_reply() | {"timings": None})
    usage = answer_of(await by_url.answer(chat(), 0, 5)).usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cached_source) == (42, None, Source.UNKNOWN)


async def test_thinking_is_asked_for_where_the_template_has_a_switch(script: ScriptedLlama) -> None:
    script.replies["/props"] = (200, PROPS | {"chat_template": "{% if enable_thinking %}"})
    script.replies[CHAT] = (200, chat_reply())
    server = LlamaServer(url=script.address)
    await server.load(Load("little", 512, 1), 5)
    answer_of(await server.answer(chat(reasoning_effort="high"), 0, 5))
    await server.close()
    assert script.asked[-1].body["chat_template_kwargs"] == {
        "enable_thinking": True,
        "reasoning_effort": "high",
    }


@pytest.mark.parametrize("request_", [embed("a", dimensions=3), chat(reasoning_effort="high")])
async def test_what_would_be_ignored_is_refused_unsent(
    script: ScriptedLlama, by_url: LlamaServer, request_: Request
) -> None:
    fault = fault_of(await by_url.answer(request_, 0, 5))
    assert (fault.category, fault.code) == (Category.VALIDATION, "unsupported_parameter")
    assert not fault.is_temporary
    assert not script.asked


async def test_vectors_come_in_the_order_of_the_texts(script: ScriptedLlama, by_url: LlamaServer) -> None:
    rows = [{"index": 1, "embedding": [2, 2.5]}, {"index": 0, "embedding": [1.0, 1.5]}]
    script.replies["/v1/embeddings"] = (200, {"data": rows, "usage": {"prompt_tokens": 7}})
    answer = answer_of(await by_url.answer(embed("a", "b"), 0, 5))
    assert answer.embeddings == ((1.0, 1.5), (2.0, 2.5))
    assert (answer.usage.prompt_tokens, answer.usage.cached_source) == (7, Source.UNKNOWN)
    fault = fault_of(await by_url.answer(embed("a", "b", "c"), 0, 5))
    assert fault.category is Category.SERVER


@pytest.mark.parametrize(
    "rows",
    [
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [2.0, 3.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [None]}],
        [{"index": 0, "embedding": [1.0]}, {"index": True, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1e39]}],
        [[1.0], [2.0]],
    ],
)
async def test_an_embedding_is_numbers_or_none(
    script: ScriptedLlama, by_url: LlamaServer, rows: list[object]
) -> None:
    script.replies["/v1/embeddings"] = (200, {"data": rows, "usage": {"prompt_tokens": 7}})
    fault = fault_of(await by_url.answer(embed("a", "b"), 0, 5))
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/props", PROPS | {"total_slots": 0}),
        ("/props", PROPS | {"total_slots": True}),
        ("/props", PROPS | {"default_generation_settings": {"n_ctx": -1}}),
        ("/props", PROPS | {"chat_template": ["x"]}),
        ("/v1/models", {"data": []}),
        ("/v1/models", '{"data": [{"id": "tiny", "meta": {"a": ' + "[" * 900 + "]" * 900 + "}}]}"),
    ],
)
async def test_a_server_that_tells_nonsense_of_itself_is_not_used(
    script: ScriptedLlama, path: str, body: object
) -> None:
    script.replies[path] = (200, body)
    server = LlamaServer(url=script.address)
    fault = fault_of(await server.load(Load("little", 512, 1), 5))
    await server.close()
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)


@pytest.mark.parametrize("status", [400, 404, 501])
async def test_a_server_that_cannot_tell_what_it_is_is_a_matter_of_its_address(
    script: ScriptedLlama, status: int
) -> None:
    script.replies["/props"] = (status, {"error": {"message": "m", "type": "exceed_context_size_error"}})
    server = LlamaServer(url=script.address)
    fault = fault_of(await server.load(Load("little", 512, 1), 5))
    await server.close()
    assert (fault.category, fault.is_temporary, fault.needs_operator) == (Category.MODEL, True, True)
    assert "llamacpp.url" in fault.message


@pytest.mark.parametrize("digits", ["9" * 5_000, "9" * 10])
async def test_an_error_with_an_impossible_number_has_no_number(
    script: ScriptedLlama, by_url: LlamaServer, digits: str
) -> None:
    message = f"input ({digits} tokens) is too large to process (current batch size: 7)"
    script.replies[CHAT] = (500, {"error": {"message": message, "type": ["x"], "n_ctx": "7"}})
    assert fault_of(await by_url.answer(chat(), 0, 5)).prompt_tokens is None


async def test_an_answer_that_hits_the_windows_end_is_looked_at_by_those_who_know_its_bound(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    """As Ollama's: whether it repeats itself, and whether a larger window would help."""
    filled = TIMINGS | {"prompt_n": 970, "predicted_n": 24}
    script.replies[CHAT] = (200, chat_reply("cut", "length") | {"timings": filled})
    answer = answer_of(await by_url.answer(chat(bound=100), 0, 5))
    assert (answer.text, answer.finish_reason, answer.usage.completion_tokens) == ("cut", "length", 24)


async def test_an_answer_longer_than_the_window_lost_its_prompt_on_the_way(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    shifted = TIMINGS | {"prompt_n": 970, "predicted_n": 60}
    script.replies[CHAT] = (200, chat_reply("shifted", "stop") | {"timings": shifted})
    assert fault_of(await by_url.answer(chat(bound=60), 0, 5)).category is Category.CONTEXT_LENGTH


@pytest.mark.parametrize(
    "reply",
    [
        "not json",
        "[]",
        {"choices": []},
        chat_reply() | {"choices": chat_reply()["choices"] * 2},
        chat_reply(finish_reason="tool_calls"),
        chat_reply() | {"timings": {"cache_n": "many"}},
        chat_reply() | {"usage": None},
        chat_reply(["yes"]),  # type: ignore[arg-type]
        chat_reply("yes", ["stop"]),  # type: ignore[arg-type]
        chat_reply("yes", reasoning_content={"a": 1}),
        chat_reply() | {"timings": TIMINGS | {"prompt_n": -1}},
        chat_reply() | {"timings": TIMINGS | {"prompt_n": True}},
        chat_reply() | {"timings": TIMINGS | {"predicted_n": 10**18}},
        chat_reply() | {"timings": TIMINGS | {"cache_n": 2**31, "prompt_n": 2**31}},
        chat_reply() | {"timings": TIMINGS | {"predicted_ms": -1.0}},
        chat_reply() | {"timings": TIMINGS | {"prompt_ms": 1e300}},
        chat_reply() | {"timings": None, "usage": {"prompt_tokens": 1.5, "completion_tokens": 1}},
        '{"choices": ' + "[" * 900 + "]" * 900 + "}",
        '{"choices": [{"finish_reason": ' + "[" * 900 + "]" * 900 + "}]}",
        '{"choices": [{"finish_reason": "stop", "message": {"content": "a\\ud83d"}}]}',
    ],
)
async def test_a_200_that_is_no_answer_is_a_temporary_fault(
    script: ScriptedLlama, by_url: LlamaServer, reply: Any
) -> None:
    script.replies[CHAT] = (200, reply)
    fault = fault_of(await by_url.answer(chat(), 0, 5))
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)


OVERFLOW = {
    "type": "exceed_context_size_error",
    "message": "too long",
    "n_prompt_tokens": 7097,
    "n_ctx": 4096,
}
BATCH = {"message": "input (1101 tokens) is too large to process. increase the (current batch size: 1024)"}


@pytest.mark.parametrize(
    ("status", "error", "category", "is_temporary", "numbers"),
    [
        (400, OVERFLOW, Category.CONTEXT_LENGTH, False, (7097, 4096)),
        (500, BATCH, Category.CONTEXT_LENGTH, False, (1101, 1024)),
        (400, {"message": "unrecognized schema"}, Category.VALIDATION, False, (None, None)),
        (501, {"message": "does not support embeddings"}, Category.MODEL, False, (None, None)),
        (503, {"message": "Loading model"}, Category.NETWORK, True, (None, None)),
        (429, {"message": "too many requests"}, Category.NETWORK, True, (None, None)),
        (504, "504 Gateway Time-out", Category.NETWORK, True, (None, None)),
        (500, {"message": "CUDA error: out of memory"}, Category.OOM, True, (None, None)),
        (500, "a text never seen before", Category.SERVER, True, (None, None)),
    ],
)
async def test_an_error_becomes_its_fault_and_keeps_its_text(
    script: ScriptedLlama,
    by_url: LlamaServer,
    status: int,
    error: Any,
    category: Category,
    is_temporary: bool,
    numbers: tuple[int | None, int | None],
) -> None:
    script.replies[CHAT] = (status, {"error": error})
    fault = fault_of(await by_url.answer(chat(), 0, 5))
    assert (fault.category, fault.is_temporary) == (category, is_temporary)
    assert (fault.prompt_tokens, fault.window_tokens) == numbers
    assert (error if isinstance(error, str) else error["message"]) in fault.message
    assert fault.is_server_lost is (category is Category.OOM)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_key_is_no_requests_fault(
    script: ScriptedLlama, by_url: LlamaServer, status: int
) -> None:
    script.replies[CHAT] = (status, {"error": {"message": "Invalid API Key"}})
    fault = fault_of(await by_url.answer(chat(), 0, 5))
    assert (fault.needs_operator, fault.is_server_lost) == (True, True)
    assert "llamacpp.api_key" in fault.message


async def test_no_answer_within_the_limit_counts_as_a_lost_server(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    script.replies[CHAT] = (-1, None)
    fault = fault_of(await by_url.answer(chat(), 0, 0.05))
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.TIMEOUT, True, True)


async def test_nobody_at_the_url_is_the_network() -> None:
    server = LlamaServer(url="http://127.0.0.1:1")
    fault = fault_of(await server.load(Load("little", 512, 1), 5))
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.NETWORK, True, True)
    assert fault_of(await server.restart(5)).category is Category.NETWORK
    await server.close()


async def test_a_proxy_of_the_environment_is_not_asked(
    script: ScriptedLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = LlamaServer(url=script.address)
    described = await server.describe(5)
    await server.close()
    assert described == ServerDescription("llamacpp", "b42-abc", "url", script.address)


@pytest.mark.parametrize(
    ("load", "code", "needs_operator", "words"),
    [
        (Load("gpt-4o", 512, 1), "model_not_found", False, "little"),
        (Load("tiny", 512, 3), None, True, "slots = 2"),
    ],
)
async def test_a_running_server_that_does_not_suffice_is_refused_with_the_next_step(
    script: ScriptedLlama, load: Load, code: str | None, needs_operator: bool, words: str
) -> None:
    server = LlamaServer(url=script.address)
    fault = fault_of(await server.load(load, 5))
    await server.close()
    assert (fault.category, fault.code, fault.needs_operator) == (Category.MODEL, code, needs_operator)
    assert words in fault.message


async def test_a_smaller_window_than_wished_is_taken_so_that_only_long_requests_fail(
    script: ScriptedLlama,
) -> None:
    server = LlamaServer(url=script.address)
    loaded = await server.load(Load("tiny", 2048, 2), 5)
    await server.close()
    assert isinstance(loaded, Loaded)
    assert (loaded.window_tokens, loaded.window_tokens_max) == (1024, 1024)


async def test_a_running_server_says_what_it_holds(script: ScriptedLlama) -> None:
    server = LlamaServer(url=script.address)
    loaded = await server.load(Load("tiny.Q4_1", 512, 1), 5)
    script.replies["/v1/models"] = (200, {"data": [MODELS["data"][0] | {"meta": {"size": 8}}]})
    other = await server.load(Load("tiny", 512, 1), 5)
    await server.close()
    assert isinstance(loaded, Loaded)
    assert isinstance(other, Loaded)
    assert (loaded.window_tokens, loaded.slots, loaded.window_tokens_max) == (1024, 1, 1024)
    assert loaded.quantization == "Q4_1"
    assert loaded.digest != other.digest


async def test_a_load_starts_one_child_and_another_window_another(embedded: Embedded) -> None:
    server = embedded.server
    first = await server.load(Load("little", 1024, 2), 5)
    assert isinstance(first, Loaded)
    assert await server.load(Load("little", 1024, 2), 5) == first
    assert len(embedded.started) == 1
    assert isinstance(await server.load(Load("little", 512, 2), 5), Loaded)
    assert [child.stopped for child in embedded.started] == [1, 0]


async def test_the_digest_follows_the_file(embedded: Embedded, tmp_path: Path) -> None:
    first = await embedded.server.load(Load("little", 1024, 2), 5)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF, another")
    await embedded.server.unload(5)
    second = await embedded.server.load(Load("little", 1024, 2), 5)
    assert isinstance(first, Loaded)
    assert isinstance(second, Loaded)
    assert first.digest.startswith("sha256:")
    assert first.digest != second.digest
    assert first.window_tokens_max == 8192


@pytest.mark.parametrize(
    ("code", "reason", "category", "needs_operator", "words"),
    [
        (1, OOM_WORDS, Category.OOM, False, "insufficient memory"),
        (1, "ended with status 1\ninvalid magic characters", Category.MODEL, True, "invalid magic"),
        (-9, "ended by SIGKILL", Category.CRASH, False, "SIGKILL"),
    ],
)
async def test_a_failed_load_is_told_by_the_childs_last_words(
    embedded: Embedded, code: int, reason: str, category: Category, needs_operator: bool, words: str
) -> None:
    embedded.next.code, embedded.next.reason = code, reason
    fault = fault_of(await embedded.server.load(Load("little", 1024, 2), 5))
    assert (fault.category, fault.needs_operator) == (category, needs_operator)
    assert words in fault.message
    assert "0.00.224" not in fault.message
    assert embedded.started[0].stopped == 1


@pytest.mark.parametrize(
    ("code", "reason", "category"),
    [
        (-9, "ended by SIGKILL\nE ggml: out of memory (an hour ago)", Category.CRASH),
        (-6, "ended by SIGABRT\nCUDA error: out of memory", Category.OOM),
        (None, "", Category.SERVER),
    ],
)
async def test_a_broken_connection_means_what_the_child_says(
    script: ScriptedLlama, embedded: Embedded, code: int | None, reason: str, category: Category
) -> None:
    script.replies[CHAT] = (0, None)
    await embedded.server.load(Load("little", 1024, 2), 5)
    child = embedded.started[0]
    child.code, child.reason = code, reason
    fault = fault_of(await embedded.server.answer(chat(), 0, 5))
    assert (fault.category, fault.is_temporary) == (category, True)
    assert fault.is_server_lost == (code is not None)


async def test_a_restart_kills_and_a_load_starts_afresh(embedded: Embedded) -> None:
    await embedded.server.load(Load("little", 1024, 2), 5)
    assert await embedded.server.restart(5) is None
    assert (embedded.started[0].code, embedded.started[0].stopped) == (-9, 1)
    assert fault_of(await embedded.server.answer(chat(), 0, 5)).is_server_lost
    assert isinstance(await embedded.server.load(Load("little", 1024, 2), 5), Loaded)


async def test_a_load_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    async def never(gguf: Path, load: Load, timeout_s: float) -> Child:
        await asyncio.sleep(60)
        raise AssertionError

    gguf = tmp_path / "tiny.gguf"
    gguf.touch()
    server = LlamaServer(any_gguf=gguf, start_child=never)
    fault = fault_of(await server.load(Load("any name", 1024, 2), 0.05))
    await server.close()
    assert (fault.category, fault.is_server_lost) == (Category.TIMEOUT, True)


async def test_a_model_file_that_is_gone_is_named(tmp_path: Path) -> None:
    server = LlamaServer(any_gguf=tmp_path / "gone.gguf")
    fault = fault_of(await server.load(Load("any name", 1024, 2), 5))
    await server.close()
    assert fault.needs_operator
    assert "gone.gguf" in fault.message


async def test_tokens_are_counted_over_the_rendered_prompt(
    script: ScriptedLlama, by_url: LlamaServer
) -> None:
    script.replies["/apply-template"] = (200, {"prompt": "<s>Is it?"})
    script.replies["/tokenize"] = (200, {"tokens": [1, 2, 3]})
    assert await by_url.count_tokens(chat()) == 3
    assert script.asked[-1].body == {"content": "<s>Is it?", "add_special": True, "parse_special": True}
    assert await by_url.count_tokens(embed("a", "b")) == 6
    script.replies["/tokenize"] = (500, {"error": {"message": json.dumps({})}})
    assert await by_url.count_tokens(chat()) is None


@dataclass
class Taken:
    """The socket of a child, until somebody else has its port."""

    address: str
    is_taken: bool = False

    def is_there(self) -> bool:
        return not self.is_taken


async def test_whoever_takes_the_port_of_a_child_gets_neither_key_nor_prompt(
    script: ScriptedLlama, tmp_path: Path
) -> None:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"GGUF")
    child, socket = ScriptedChild(script.address, pid=4711), Taken(script.address)
    asked_of: list[int] = []

    def sockets_of(pid: int) -> list[Taken]:
        asked_of.append(pid)
        return [Taken("http://127.0.0.1:1"), socket]

    async def start(gguf: Path, load: Load, timeout_s: float) -> Child:
        return child

    server = LlamaServer(any_gguf=gguf, start_child=start, sockets_of=sockets_of)
    assert isinstance(await server.load(Load("little", 512, 2), 5), Loaded)
    assert asked_of == [4711]
    assert script.asked
    script.asked.clear()
    socket.is_taken, child.code, child.reason = True, -9, "killed"
    fault = await server.answer(chat(), 0, 5)
    assert isinstance(fault, ModelFault)
    assert fault.is_server_lost
    assert script.asked == []
    await server.close()


async def test_a_child_that_does_not_listen_where_it_says_is_not_believed(
    script: ScriptedLlama, tmp_path: Path
) -> None:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"GGUF")

    async def start(gguf: Path, load: Load, timeout_s: float) -> Child:
        return ScriptedChild(script.address)

    server = LlamaServer(any_gguf=gguf, start_child=start, sockets_of=lambda pid: [])
    fault = await server.load(Load("little", 512, 2), 5)
    assert isinstance(fault, ModelFault)
    assert "does not listen" in fault.message
    assert script.asked == []
    await server.close()
