"""The simulator against the recorded exchanges of a real Ollama 0.33.0-rc2.

SUMMARY
    The exchanges are repeated in their order, each in its condition; the simulator must give the same status,
    content type, set of keys and text pattern (numbers and paths aside), and load the model again where the
    real server did. What cannot be repeated stands in UNDRIVEN, with the reason.

DIAGNOSTICS
    None.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.simulator import DEFAULT_MODELS, Settings, Simulator

TRANSCRIPTS = Path(__file__).parent / "transcripts" / "ollama-0.33.0-rc2.jsonl"

UNDRIVEN = {
    "v1-chat": "the OpenAI layer of Ollama is never used: it cuts prompts and ignores bounds",
    "v1-chat-max_tokens": "the same",
    "v1-missing-model": "the same",
}

#: A model load of the simulator; whatever takes longer than half of it was one.
LOAD_S = 0.12

#: The real server took at least half a second for a load, and 2 ms for finding a resident model.
REAL_LOAD_NS = 100_000_000

#: How long a client waits for an answer that must not come.
PATIENCE_S = 0.25

#: Texts that are the model's own words, and moments.
_FREE = {
    "content",
    "created_at",
    "expires_at",
    "modified_at",
    "digest",
    "rendered_template",
    "modelfile",
    "template",
}

_SMOL = DEFAULT_MODELS[0]

Exchange = dict[str, Any]


def read_exchanges() -> list[Exchange]:
    return [orjson.loads(line) for line in TRANSCRIPTS.read_bytes().splitlines()]


def _whole(value: Any) -> Any:
    """Texts that were shortened for the record, at their full length again."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    if isinstance(value, str) and (found := re.fullmatch(r"(.*) … \((\d+) characters\)", value, re.DOTALL)):
        seed, chars = found[1] + " ", int(found[2])
        return (seed * (chars // len(seed) + 1))[:chars]
    return value


def _keys(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{at}.{key}"
            yield from _keys(inner, f"{at}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner, f"{at}[]")


def _texts(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every text that a server chooses, with numbers and paths taken out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _FREE:
                yield from _texts(inner, f"{at}.{key}")
    elif isinstance(value, str):
        yield at, re.sub(r"\s*\d+(\.\d+)?", " N", re.sub(r"/[\w./-]+", "PATH", value))
    elif isinstance(value, bool):
        yield at, str(value)


def _is_reload(body: Any, limit_ns: float) -> bool | None:
    return body["load_duration"] > limit_ns if isinstance(body, dict) and "load_duration" in body else None


def differences(exchange: Exchange, given: Exchange) -> list[str]:
    wanted, name = exchange["response"], exchange["name"]
    if "exception" in wanted or "exception" in given:
        same = wanted.get("exception", "").split(":")[0] == given.get("exception", "")
        return [] if same else [f"{name}: {given} instead of {wanted}"]
    found = [
        f"{name}: {what} {given[what]} instead of {wanted[what]}"
        for what in ("status", "content_type")
        if wanted[what] != given[what]
    ]
    left, right = wanted["body"], given["body"]
    if set(_keys(left)) != set(_keys(right)):
        found.append(f"{name}: keys {sorted(set(_keys(left)) ^ set(_keys(right)))}")
    is_description = isinstance(left, dict) and "tensors" in left  # of a model: its own words
    if not is_description and dict(_texts(left)) != dict(_texts(right)):
        found.append(f"{name}: texts {set(_texts(left)) ^ set(_texts(right))}")
    if _is_reload(left, REAL_LOAD_NS) != _is_reload(right, LOAD_S / 2 * 1e9):
        found.append(f"{name}: load_duration {right['load_duration']} instead of {left['load_duration']}")
    return found


async def send(simulator: Simulator, exchange: Exchange, patience_s: float = 20.0) -> Exchange:
    asked = exchange["request"]
    content = b"" if asked["body"] is None else orjson.dumps(_whole(asked["body"]))
    async with httpx.AsyncClient(
        base_url=simulator.address, timeout=patience_s, trust_env=False, verify=False
    ) as client:
        try:
            reply = await client.request(asked["method"], asked["path"], content=content)
        except httpx.TransportError as error:
            return {"exception": type(error).__name__}
    is_json = "json" in reply.headers["content-type"]
    body = orjson.loads(reply.content) if is_json else {"_text": reply.text}
    return {"status": reply.status_code, "content_type": reply.headers["content-type"], "body": body}


def _simulator(**settings: Any) -> Simulator:
    models = tuple(spec for spec in DEFAULT_MODELS if spec.name in ("smollm2:135m", "gemma3:270m"))
    fixed: dict[str, Any] = {"answer_tokens": 40, "hung_unload_s": 0.05, "models": models, "load_s": LOAD_S}
    return Simulator(Settings(**fixed | settings))


async def _kill(simulator: Simulator) -> None:
    simulator.kill_runner()


async def _hang(simulator: Simulator) -> None:
    simulator.hang()


async def _kill_a_hung_one(simulator: Simulator) -> None:
    simulator.hang()
    simulator.kill_runner()
    await _chat(simulator, "unrecorded")


async def _leave_in_the_middle(simulator: Simulator) -> None:
    simulator.faults.delays.append(5.0)
    with_patience = {"name": "", "request": {"method": "POST", "path": "/api/chat", "body": _chat_body("hi")}}
    assert "exception" in await send(simulator, with_patience, 0.05)


async def _shrink_memory(simulator: Simulator) -> None:
    """What 4,096 tokens of KV cache need, but not the buffers as well."""
    simulator.set_memory(_SMOL.size_bytes + _SMOL.kv_cache_bytes(4096, 1) + 1_000_000)


async def _load_gemma(simulator: Simulator) -> None:
    simulator.set_memory(None)
    body = {"model": "gemma3:270m", "stream": False, "keep_alive": -1, "shift": False}
    await send(simulator, {"request": {"method": "POST", "path": "/api/generate", "body": body}})


def _chat_body(text: str) -> Exchange:
    options = {"num_ctx": 4096, "num_predict": 8}
    messages = [{"role": "user", "content": text}]
    return {
        "model": "smollm2:135m",
        "messages": messages,
        "stream": False,
        "shift": False,
        "options": options,
    }


async def _chat(simulator: Simulator, text: str) -> Exchange:
    return await send(
        simulator, {"request": {"method": "POST", "path": "/api/chat", "body": _chat_body(text)}}
    )


#: What happens right before an exchange.
BEFORE: dict[str, Callable[[Simulator], Awaitable[None]]] = {
    "chat-after-idle-crash": _kill,
    "reload": _kill,
    "hang-in-flight": _hang,
    "chat-after-killing-hung": _kill_a_hung_one,
    "chat-after-disconnect": _leave_in_the_middle,
    "oom-load-num_ctx-512": _shrink_memory,
    "gemma-ps": _load_gemma,
}

#: Exchanges that ran side by side, or on a server with another setting: they have tests of their own.
APART = ("crash-in-flight-", "queue-full-", "negative-num_predict")


def test_every_exchange_is_driven_or_listed_with_a_reason() -> None:
    names = {exchange["name"] for exchange in read_exchanges()}
    assert set(UNDRIVEN) <= names
    assert set(BEFORE) <= names
    assert len(UNDRIVEN) == 3


async def test_each_exchange_in_its_order_and_condition() -> None:
    found: list[str] = []
    async with _simulator() as simulator:
        for exchange in read_exchanges():
            name = exchange["name"]
            if name.startswith(APART):
                if name == "crash-in-flight-0":
                    await _crash_in_flight(simulator, found)
                continue
            if name in UNDRIVEN:
                continue
            if name in BEFORE:
                await BEFORE[name](simulator)
            patience_s = PATIENCE_S if "exception" in exchange["response"] else 20.0
            found += differences(exchange, await send(simulator, exchange, patience_s))
        assert not simulator.bugs
    assert found == []


async def _crash_in_flight(simulator: Simulator, found: list[str]) -> None:
    """The recorded three, and the death of the runner below them."""
    exchanges = [item for item in read_exchanges() if item["name"].startswith("crash-in-flight-")]
    await _chat(simulator, "load")
    simulator.faults.delays.extend([20.0] * len(exchanges))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(simulator, exchange)) for exchange in exchanges]
        async with asyncio.timeout(10):
            await simulator.wait_for_in_flight(len(exchanges))
        simulator.kill_runner()
    simulator.faults.delays.clear()
    for exchange, task in zip(exchanges, tasks, strict=True):
        found += differences(exchange, task.result())


async def test_a_full_queue_answers_ten_of_twelve_with_503() -> None:
    exchanges = [item for item in read_exchanges() if item["name"].startswith("queue-full-")]
    async with _simulator(max_queue=1) as simulator, asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(simulator, exchange)) for exchange in exchanges]
        await asyncio.wait(tasks)
    given = sorted((task.result() for task in tasks), key=lambda reply: str(reply["status"]))
    wanted = sorted(exchanges, key=lambda exchange: str(exchange["response"]["status"]))
    assert [reply["status"] for reply in given] == [200] * 2 + [503] * 10
    assert [line for pair in zip(wanted, given, strict=True) for line in differences(*pair)] == []


async def test_an_answer_without_a_bound_does_not_end() -> None:
    exchange = next(item for item in read_exchanges() if item["name"] == "negative-num_predict")
    async with _simulator(decode_rate=100.0, load_s=0.0) as simulator:
        assert differences(exchange, await send(simulator, exchange, PATIENCE_S)) == []
