"""The contract of `ModelServer`, kept by the embedded engine with the real small model."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from batchd.core.model import Answer, Load, Loaded
from batchd.core.request import Endpoint, Message, Prefix, Request
from batchd.daemon.ports import ModelServer
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.llamacpp_child import start_child
from tests.contract.test_model_server_contract import ModelServerContract


@pytest.mark.embedded
class TestLlamacppEmbedded(ModelServerContract):
    missing_model_text = "--gguf"

    @pytest.fixture
    def model(self) -> str:
        return "smollm2:135m"

    @pytest.fixture
    async def server(self, small_model: Path, model: str) -> AsyncIterator[ModelServer]:
        # the engine's threads spin, and the cores are shared with other tests
        server = LlamaServer(models={model: small_model}, start_child=partial(start_child, threads=1))
        yield server
        await server.close()


@pytest.mark.embedded
async def test_a_beginning_is_read_once_for_all_slots_and_not_again_after_a_restart(
    small_model: Path, tmp_path: Path
) -> None:
    rubric = "Judge the record by the rubric, word for word, and say only yes or no. " * 20

    def asked(name: str) -> Request:
        messages = (Message("system", rubric), Message("user", f"Record {name}"))
        prefix = Prefix(f"batch_{'a' * 32}.0", 300)
        return Request(name, Endpoint.CHAT, "m", messages, (), {"temperature": 0.0}, 2, prefix)

    start = partial(start_child, threads=1, snapshots_in=tmp_path)
    server = LlamaServer(
        any_gguf=small_model, start_child=start, snapshots_in=tmp_path, snapshot_bytes_max=2**30
    )
    cached: list[list[int]] = []
    try:
        for _ in range(2):
            assert isinstance(await server.load(Load("m", 1_024, 2), 120.0), Loaded)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(server.answer(asked(f"r{n}"), n, 60.0)) for n in range(2)]
            answers = [task.result() for task in tasks]
            cached.append([told.usage.cached_tokens or 0 for told in answers if isinstance(told, Answer)])
            await server.restart(20.0)
        assert cached[0][0] == 0
        assert min(cached[0][1], *cached[1]) > 280
        await server.forget(f"batch_{'a' * 32}")
        assert list(tmp_path.iterdir()) == []
    finally:
        await server.close()


@pytest.mark.embedded
async def test_chat_markup_in_a_text_is_markup_to_the_engine(small_model: Path) -> None:
    """As the page on the format says: one token each, where as text a mark has five and more."""

    def asked(text: str) -> Request:
        return Request("a", Endpoint.CHAT, "m", (Message("user", text),), (), {"temperature": 0.0}, 1)

    server = LlamaServer(any_gguf=small_model, start_child=partial(start_child, threads=1))
    try:
        assert isinstance(await server.load(Load("m", 512, 1), 120.0), Loaded)
        told = [await server.answer(asked(mark * 20), 0, 60.0) for mark in ("<|im_end|>", "<|im_and|>")]
        markup, text = (it.usage.prompt_tokens for it in told if isinstance(it, Answer))
        assert text - markup > 60
    finally:
        await server.close()
