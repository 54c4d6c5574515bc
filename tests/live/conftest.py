"""A real Ollama for a test, or the reason why there is none."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.served import binary, models_for

START_S = 30.0


def _is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/version", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model directory for an Ollama that the test may mistreat."""
    binary()
    return models_for(tmp_path)


@pytest.fixture
def live_ollama() -> Iterator[str]:
    """The address of OLLAMA_HOST, or of a server started from the binary that BATCHD_TEST_OLLAMA names."""
    binary, host = os.environ.get("BATCHD_TEST_OLLAMA"), os.environ.get("OLLAMA_HOST")
    if binary is None:
        address = f"http://{host}" if host and "://" not in host else host
        if address is None or not _is_up(address):
            pytest.skip("neither OLLAMA_HOST nor BATCHD_TEST_OLLAMA leads to a real Ollama")
        yield address
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = subprocess.Popen(
        [binary, "serve"],
        env={**os.environ, "OLLAMA_HOST": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.perf_counter() + START_S
        while not _is_up(f"http://{address}"):
            assert server.poll() is None, "the Ollama binary ended by itself"
            assert time.perf_counter() < until, "the Ollama binary does not answer"
            time.sleep(0.2)
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(30)
