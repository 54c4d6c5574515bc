"""HTTP to Ollama: the client of the `ollama` package, each exchange bounded in time and in bytes.

SUMMARY
    Exchanger.exchange    one call; the value that came with status 200, or the fault that it was

    The package makes the request: the server's address, its headers, the key of OLLAMA_API_KEY. Its methods
    drop `truncate`, `shift` and unknown fields of an answer, and have no limits, so the bytes go through a
    bare connection pool of httpx: no cookies, no redirects, nothing of the environment, and a body that is
    read as it comes. One for each slot: a shared pool gets slower with every request in flight. A proxy is
    handed in (`core/proxy` finds it).

    A `Gate` is asked at each new connection, before anything is sent, whether who listens is to be believed.

DIAGNOSTICS
    None raised: every failure is a ModelFault. Time-outs and broken connections say that the server is lost.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx

from batchd.core import json
from batchd.core.body import CONTROL_BYTES_MAX, HEADERS, received, with_wait
from batchd.core.fault import Category, ModelFault
from batchd.core.proxy import Proxy
from batchd.core.reply import unreadable
from batchd.edges.ollama.faults import classify
from batchd.edges.ollama.gate import Gate, StrangerError, asking

#: What httpx would believe, besides proxies in any spelling.
_BELIEVED = frozenset({"ollama_host", "ollama_api_key", "ssl_cert_file"})


@contextmanager
def _nothing_believed() -> Iterator[None]:
    """Without the variables of the environment that a client looks at; afterwards as it was."""
    before = dict(os.environ)
    for name in before:
        if name.lower() in _BELIEVED or name.lower().endswith("_proxy"):
            del os.environ[name]
    # All certificates of the system are a twentieth of our start: in a directory none is read before it is
    # needed.
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
    try:
        yield
    finally:
        os.environ.pop("SSL_CERT_DIR")
        os.environ.update(before)


# The package makes a client of its own when it is imported, which nobody uses: with an address or a proxy
# that is none it fails. Whether they are is for the settings to say, in a sentence.
with _nothing_believed():
    import ollama

#: A server on the same machine or network accepts at once; its backlog may hold a moment.
CONNECT_S = 5.0

#: A body of some megabytes on a slow network.
WRITE_S = 60.0

#: The client's own read limit comes after ours, so that one place decides what a time-out is.
READ_MARGIN_S = 5.0


class Exchanger(ollama.AsyncClient):
    """One connection to the server, for one slot or for the control calls."""

    def __init__(self, host: str, proxy: Proxy | None = None, gate: Gate | None = None) -> None:
        self._gate = gate
        self._proxy = proxy
        # Reading the certificates of the system takes 30 ms, for each slot: only where they are needed.
        verify = host.startswith("https://")
        self._transport = httpx.AsyncHTTPTransport(verify=verify, proxy=proxy.url if proxy else None)
        super().__init__(
            host, transport=self._transport, trust_env=False, follow_redirects=False, headers=HEADERS
        )

    def __repr__(self) -> str:
        return (
            f"<Exchanger {self.address} by {self._proxy}>" if self._proxy else f"<Exchanger {self.address}>"
        )

    @property
    def address(self) -> str:
        return str(self._client.base_url).rstrip("/")

    async def close(self) -> None:
        await self._client.aclose()

    async def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        timeout_s: float,
        bytes_max: int = CONTROL_BYTES_MAX,
    ) -> object | ModelFault:
        limits = httpx.Timeout(timeout_s + READ_MARGIN_S, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S)
        request = self._client.build_request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            timeout=limits,
            extensions=asking(self._gate),
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await self._receive(request, bytes_max)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            message = f"No answer within {timeout_s:g} s."
            return ModelFault(Category.TIMEOUT, message, is_temporary=True, is_server_lost=True)
        except StrangerError as error:
            return error.fault
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            by = f" by {self._proxy}" if self._proxy else ""
            message = f"The model server cannot be reached{by}: {_words(error)}."
            return ModelFault(Category.NETWORK, message, is_temporary=True, is_server_lost=True)
        except httpx.HTTPError as error:
            # It had the request. Whether it died of this one shows when the suspects run alone.
            message = f"The model server broke the connection: {_words(error)}."
            return ModelFault(Category.CRASH, message, is_temporary=True, is_server_lost=True)
        except Exception as error:  # noqa: BLE001  (what comes over a wire must not end more than one call)
            return unreadable(f"{type(error).__name__}: {error}")

    async def _receive(self, request: httpx.Request, bytes_max: int) -> object | ModelFault:
        response = await self._transport.handle_async_request(request)
        try:
            status, raw = response.status_code, cast(AsyncGenerator[bytes, None], response.aiter_raw())
            body = await received(status, response.headers, raw, bytes_max)
        finally:
            await response.aclose()
        if isinstance(body, ModelFault):
            return body
        if status == httpx.codes.OK and (unread := body.refused()) is not None:
            return unread
        read = _read(status, body.content)
        return with_wait(read, response.headers) if isinstance(read, ModelFault) else read


def _words(error: httpx.HTTPError) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _read(status: int, content: bytes) -> object | ModelFault:
    try:
        value = json.loads(content)
    except ValueError:
        if status == httpx.codes.OK:
            return ModelFault(Category.SERVER, "The answer is not JSON.", is_temporary=True)
        value = None
    if status == httpx.codes.OK:
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            return classify(500, value["error"])
        return value
    said = value.get("error") if isinstance(value, dict) else None
    return classify(status, said if isinstance(said, str) else content.decode(errors="replace"))
