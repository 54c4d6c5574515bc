"""What both engines' connections hold against a server that will not: bytes, time, heads and redirects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from batchd.core.body import BODY_BYTES_MAX, CONTROL_BYTES_MAX, VALUES_MAX
from batchd.core.fault import Category, ModelFault
from batchd.core.proxy import Proxy
from batchd.edges.llamacpp.http import Route
from batchd.edges.ollama.client import Exchanger
from batchd.edges.ollama_server.mode import is_answering
from tests.fakes.odd_server import Asked, OddServer, Say, once, plain

#: One exchange with the server at this address: (address, limit in seconds, limit in bytes, proxy).
Ask = Callable[[str, float, int, Proxy | None], Awaitable[object]]


async def ask_ollama(address: str, timeout_s: float, bytes_max: int, proxy: Proxy | None = None) -> object:
    client = Exchanger(address, proxy)
    try:
        return await client.exchange("POST", "/api/chat", {"a": 1}, timeout_s, bytes_max)
    finally:
        await client.close()


async def ask_llamacpp(address: str, timeout_s: float, bytes_max: int, proxy: Proxy | None = None) -> object:
    route = Route(address, "", proxy)
    try:
        return await route.question("POST", "/v1/chat/completions", {"a": 1}, timeout_s, bytes_max)
    finally:
        await route.close()


both = pytest.mark.parametrize("ask", [ask_ollama, ask_llamacpp])


def saying(content: bytes) -> Say:
    return lambda asked: once(content)


def repeating(head: bytes, piece: bytes, pause_s: float = 0.0) -> Say:
    """The head, and then the same piece for ever."""

    async def say(asked: Asked) -> AsyncIterator[bytes]:
        yield head
        while True:
            yield piece
            await asyncio.sleep(pause_s)

    return say


async def fault_of(
    ask: Ask, say: Say, timeout_s: float = 10.0, bytes_max: int = CONTROL_BYTES_MAX
) -> ModelFault:
    async with OddServer(say) as server:
        found = await ask(server.address, timeout_s, bytes_max, None)
    assert isinstance(found, ModelFault), found
    return found


@both
async def test_plain_bytes_are_asked_for_and_nothing_is_remembered_between_calls(ask: Ask) -> None:
    async with OddServer(saying(plain(200, {"a": 1}, Set_Cookie="a=b; Path=/"))) as server:
        for _ in range(2):
            assert await ask(server.address, 5, 1_000, None) == {"a": 1}
    assert [asked.headers["accept-encoding"] for asked in server.asked] == ["identity"] * 2
    assert not any("cookie" in asked.headers for asked in server.asked)


@both
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["announced", "until it closes", "in chunks"],
)
async def test_a_body_without_an_end_is_read_up_to_what_was_asked_for(ask: Ask, head: bytes) -> None:
    piece = b"10000\r\n" + b"x" * 2**16 + b"\r\n" if b"chunked" in head else b"x" * 2**16
    async with OddServer(repeating(head, piece)) as server:
        fault = await ask(server.address, 30, 2**20, None)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)
    assert "1048576 bytes" in fault.message
    assert server.sent_bytes < 2**20 + 2**24  # what the sockets between us held besides


@both
async def test_a_body_of_nothing_but_values_is_not_taken_apart(ask: Ask) -> None:
    """64 MiB of empty arrays would be more than two GB, and end a daemon that may have as much."""
    fault = await fault_of(ask, saying(plain(200, b"[" * (VALUES_MAX + 1))), 30, BODY_BYTES_MAX)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)
    assert f"more than {VALUES_MAX} values" in fault.message


@both
async def test_an_error_without_an_end_is_read_as_far_as_anybody_would(ask: Ask) -> None:
    fault = await fault_of(
        ask, repeating(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", b"no! " * 1_000), 30
    )
    assert fault.category is Category.SERVER
    assert "no! no!" in fault.message
    assert len(fault.message) <= 2_100


@both
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
    ],
    ids=["before the head", "in the head", "in the body", "in an error"],
)
async def test_a_slow_drip_ends_at_the_requests_own_limit(ask: Ask, head: bytes) -> None:
    fault = await fault_of(ask, repeating(head, b"x", pause_s=0.01), timeout_s=0.2)
    assert (fault.category, fault.is_server_lost) == (Category.TIMEOUT, True)


@both
@pytest.mark.parametrize("piece", [b"X-A: " + b"y" * 1_000 + b"\r\n", b"y" * 1_000], ids=["many", "one"])
async def test_a_head_without_an_end_is_given_up(ask: Ask, piece: bytes) -> None:
    async with OddServer(repeating(b"HTTP/1.1 200 OK\r\nX: ", piece)) as server:
        fault = await ask(server.address, 30, 1_000, None)
    assert isinstance(fault, ModelFault)
    assert fault.is_temporary
    assert server.sent_bytes < 2**24


@both
async def test_heads_before_the_head_end_at_the_limit_too(ask: Ask) -> None:
    fault = await fault_of(ask, repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), timeout_s=0.2)
    assert fault.is_temporary


@both
async def test_an_encoding_that_was_not_asked_for_is_refused(ask: Ask) -> None:
    fault = await fault_of(ask, saying(plain(200, b"\x1f\x8b", Content_Encoding="gzip")))
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)
    assert "'gzip'" in fault.message


@both
@pytest.mark.parametrize("where", ["https://elsewhere.example/", "http://[x", "", "/api/chat"])
async def test_a_redirect_is_not_followed(ask: Ask, where: str) -> None:
    async with OddServer(saying(plain(307, "", Location=where))) as server:
        fault = await ask(server.address, 5, 1_000, None)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.needs_operator) == (Category.MODEL, True)
    assert "Redirects are not followed" in fault.message
    assert len(server.asked) == 1


@both
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage",
        b"\x00\xff\r\n\r\n",
        b"HTTX/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 204 None\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(12),
)
async def test_whatever_else_comes_is_a_temporary_fault(ask: Ask, said: bytes) -> None:
    async def say(asked: Asked) -> AsyncIterator[bytes]:
        yield said

    fault = await fault_of(ask, say, timeout_s=2)
    assert fault.is_temporary
    assert fault.message


@both
async def test_another_host_is_called_by_its_proxy_and_the_proxy_is_named_when_it_fails(ask: Ask) -> None:
    async with OddServer(saying(plain(200, {"by": "proxy"}))) as server:
        proxy = Proxy(server.address, "HTTP_PROXY")
        assert await ask("http://box.example:11434", 5, 1_000, proxy) == {"by": "proxy"}
    assert server.asked[0].path.startswith("http://box.example:11434/")
    fault = await ask("http://box.example:11434", 5, 1_000, proxy)  # it is closed now
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_server_lost) == (Category.NETWORK, True)
    assert "the proxy 127.0.0.1 (HTTP_PROXY)" in fault.message


async def test_whether_anybody_answers_is_told_in_time_and_by_the_head_alone() -> None:
    async with OddServer(repeating(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", 0.01)) as server:
        assert await is_answering(server.address)
    async with OddServer(repeating(b"HTTP/1.1 200 OK\r\n", b"x", 0.01)) as server:
        assert not await is_answering(server.address)
