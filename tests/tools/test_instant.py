"""The server without a model: what batchd asks is answered, counted and timed."""

import asyncio
import time
from pathlib import Path

from batchd.core.fault import ModelFault
from batchd.core.model import Answer, Load, Loaded
from batchd.edges.clock import SystemClock
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama.standin import ANSWER, VERSION
from batchd.tools.instant import Instant
from batchd.tools.loops import Sent, read_requests, saturate
from batchd.tools.workload import Workload


async def _spoken(address: str) -> tuple[object, object, object]:
    server = OllamaServer(address, "attach", SystemClock())
    try:
        described = await server.describe(5.0)
        loaded = await server.load(Load("m:1", 1_024, 2), 5.0)
        return described, loaded, await server.digests(["m:1", "other"], 5.0)
    finally:
        await server.close()


def test_batchd_takes_it_for_a_server_and_its_version_says_what_it_is() -> None:
    with Instant("m:1") as server:
        described, loaded, digests = asyncio.run(_spoken(server.address))
        assert not isinstance(described, ModelFault)
        assert VERSION in repr(described)
        assert server.told().unknown == 0
    assert "instant" in VERSION
    assert isinstance(loaded, Loaded)
    assert digests == {"m:1": loaded.digest}


async def _saturated(address: str, batch: Path) -> Sent | ModelFault:
    server = OllamaServer(address, "attach", SystemClock())
    try:
        assert not isinstance(await server.load(Load("m:1", 1_024, 3), 5.0), ModelFault)
        answer = await server.answer(read_requests(batch)[0], 0, 5.0)
        assert isinstance(answer, Answer)
        assert answer.text == ANSWER
        return await saturate(server, read_requests(batch), 3, SystemClock())
    finally:
        await server.close()


def test_requests_are_counted_from_the_last_reset_on(tmp_path: Path) -> None:
    batch = Workload(7, 2, 30).write(tmp_path / "w", "m:1", 0)
    with Instant("m:1", 0.01) as server:
        before = time.perf_counter()
        sent = asyncio.run(_saturated(server.address, batch))
        told = server.reset()
        after = time.perf_counter()  # the server looks at its clock when the answer is out already
        assert server.told().requests == 0
    assert isinstance(sent, Sent)
    assert (sent.answered, told.requests, told.answered, told.unknown) == (7, 8, 8, 0)
    assert sent.evaluated_tokens is not None
    assert sent.evaluated_tokens < sent.prompt_tokens
    assert before < told.first[0] < told.first[1] < told.last_at < after
