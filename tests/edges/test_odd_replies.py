"""Ten thousand generated replies, on each endpoint of both engines: each call ends as a value, a sound one.

SUMMARY
    BATCHD_TEST_ODD_REPLIES is how many, BATCHD_TEST_SEED where chance begins.

DIAGNOSTICS
    None: tests.
"""

import gc
import os
from math import isfinite
from pathlib import Path

import pytest

from batchd.core.fault import ModelFault
from batchd.core.json import loads_strict
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Usage
from batchd.core.reply import COUNT_MAX
from batchd.core.request import Endpoint, Message, Request
from batchd.core.result import model_fault_line, result_line
from batchd.daemon.ports import ModelServer
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama.survey import survey
from tests.contract.test_model_server_contract import RealClock
from tests.fakes.odd_replies import MODEL, OddReplies
from tests.fakes.odd_server import Asked, OddServer, once

REPLIES = int(os.environ.get("BATCHD_TEST_ODD_REPLIES", "10000"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261129"))

#: What the process may have grown by, after so many: the parts of one reply, and what Python keeps.
GROWTH_BYTES_MAX = 100 * 2**20

CHAT = Request("c", Endpoint.CHAT, MODEL, (Message("user", "hi"),), (), {}, 8)
REQUESTS = (
    CHAT,
    Request("p", Endpoint.COMPLETIONS, MODEL, (), ("hi",), {}, 8),
    Request("e", Endpoint.EMBEDDINGS, MODEL, (), ("one", "two"), {"encoding_format": "base64"}, 0),
)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_usage(usage: Usage) -> None:
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens or 0)
    assert all(type(count) is int and 0 <= count <= COUNT_MAX for count in counts)
    assert (usage.cached_tokens or 0) <= usage.prompt_tokens
    for duration in (usage.prefill_s, usage.decode_s):
        assert duration is None or (isfinite(duration) and duration >= 0)


def check(request: Request, heard: object) -> None:
    """Whatever it is, a line can be made of it that every reader reads alike."""
    if isinstance(heard, ModelFault):
        assert heard.message
        assert heard.prompt_tokens is None or 0 < heard.prompt_tokens <= COUNT_MAX
        line = model_fault_line(request.custom_id, 1, heard, "0" * 40)
    else:
        assert isinstance(heard, Answer)
        check_usage(heard.usage)
        assert len(heard.embeddings) == len(request.inputs) * (request.endpoint is Endpoint.EMBEDDINGS)
        line = result_line(request, heard, "0" * 40, 0.0)
    loads_strict(line)


async def told(server: ModelServer) -> None:
    """What a server says of itself, once each."""
    assert isinstance(await server.describe(5), ServerDescription | ModelFault)
    digests = await server.digests([MODEL], 5)
    assert isinstance(digests, ModelFault) or all(isinstance(digest, str) for digest in digests.values())
    loaded = await server.load(Load(MODEL, 1_024, 2), 5)
    if isinstance(loaded, Loaded):
        assert 0 < loaded.window_tokens <= COUNT_MAX
        assert 0 < loaded.slots <= 2
    assert await server.count_tokens(CHAT) in (None, 3, *range(20))


@pytest.mark.timeout(60 + REPLIES // 50)
@pytest.mark.parametrize("engine", ["ollama", "llamacpp"])
async def test_no_reply_is_more_than_a_value_and_every_value_is_sound(engine: str) -> None:
    odd = OddReplies(SEED)

    def say(asked: Asked) -> object:
        return once(odd.ollama(asked) if engine == "ollama" else odd.llamacpp(asked))

    before = resident_bytes()
    async with OddServer(say) as server:  # type: ignore[arg-type]
        model: ModelServer = (
            OllamaServer(server.address, "attach", RealClock())
            if engine == "ollama"
            else LlamaServer(url=server.address)
        )
        while not isinstance(await model.load(Load(MODEL, 1_024, 2), 5), Loaded):
            pass
        number = 0
        while odd.total < REPLIES // 2:
            number += 1
            if number % 20 == 0:
                await told(model)
                if engine == "ollama":
                    found = await survey(server.address, 5)
                    assert isinstance(found, list | ModelFault)
            request = REQUESTS[number % 3]
            check(request, await model.answer(request, number % 2, 5))
            server.asked.clear()
        await model.unload(5)
        await model.close()
    assert odd.given > REPLIES // 10
    assert resident_bytes() - before < GROWTH_BYTES_MAX
