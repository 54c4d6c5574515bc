"""The contract of `ModelServer`, kept by the embedded engine with the real small model."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

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
