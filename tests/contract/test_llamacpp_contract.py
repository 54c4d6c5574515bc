"""The contract of `ModelServer`, kept by the embedded engine with the real small model."""

from collections.abc import AsyncIterator
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
        server = LlamaServer(models={model: small_model}, start_child=start_child)
        yield server
        await server.close()
