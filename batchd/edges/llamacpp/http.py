"""Http: one exchange with a llama-server, and what a broken one means.

SUMMARY
    `Route` is the way to one server: a child of ours, or a url. `ask` returns the body of a 200, `question`
    its JSON object, `props` what the server says of itself.

    One connection for each exchange: the server closes idle ones after a few seconds, and a request that is
    sent into a closing connection looks like a crash. Bytes go through a bare connection pool of httpx: no
    cookies, no redirects, nothing of the environment, and a body that is read as it comes. A proxy is handed
    in (`core/proxy` finds it).

DIAGNOSTICS
    None raised: every trouble is a ModelFault.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

import httpx

from batchd.core.body import CONTROL_BYTES_MAX, HEADERS, received, with_wait
from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps, loads
from batchd.core.proxy import Proxy
from batchd.core.reply import guarded, unreadable
from batchd.edges.llamacpp import faults
from batchd.edges.llamacpp.props import Props, props_of

#: A loopback connection is accepted at once or not at all; over a network it may take a moment.
CONNECT_S = 5.0

#: A dying child closes its connections some milliseconds before the kernel reports its end.
END_SEEN_S = 2.0
END_STEP_S = 0.02

#: With these the server never had the request.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.InvalidURL)

#: Questions about the server itself are answered between two batches of tokens.
QUESTION_S = 10.0


class Socket(Protocol):
    """A listening socket of a process of ours, as `edges/sockets` finds it."""

    @property
    def address(self) -> str: ...

    def is_there(self) -> bool:
        """Whether that process holds it still."""


class Child(Protocol):
    """A llama-server of ours. `exit_code` is None while it lives, negative after a signal."""

    key: str
    address: str

    @property
    def pid(self) -> int: ...

    def exit_code(self) -> int | None:
        """None while it lives."""

    def exit_reason(self) -> str:
        """How it ended, and below that its last lines."""

    def kill(self) -> None:
        """End it now; `stop` is still to be awaited."""

    async def stop(self) -> None:
        """End it and forget it."""


def _only(socket: Socket) -> Callable[[str, Mapping[str, object]], Awaitable[None]]:
    """Looks at each new connection, before anything is sent: key and prompt are for our child alone."""

    async def told(event: str, details: Mapping[str, object]) -> None:
        if event == "connection.connect_tcp.complete" and not socket.is_there():
            stream: Any = details["return_value"]
            await stream.aclose()
            raise httpx.ConnectError("another process has taken its port")

    return told


class Route:
    """The way to one server. With a child, the address and the key are the child's."""

    def __init__(self, url: str | None, key: str, proxy: Proxy | None = None) -> None:
        self.url = url.rstrip("/") if url is not None else None
        self.child: Child | None = None
        self.socket: Socket | None = None  # on which the child listens; after its death the port is anybody's
        self._key = key
        self._proxy = proxy
        self._transport = httpx.AsyncHTTPTransport(
            verify=url is not None and url.startswith("https://"),
            proxy=proxy.url if proxy else None,
            # as many connections as the caller has requests, which is one for each slot
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def _trace(self) -> dict[str, object]:
        return {} if self.socket is None else {"trace": _only(self.socket)}

    async def close(self) -> None:
        """Close what is open."""
        await self._transport.aclose()

    async def props(self, timeout_s: float) -> Props | ModelFault:
        props = await self.question("GET", "/props", timeout_s=timeout_s)
        if isinstance(props, ModelFault):
            return faults.of_set_up(props)
        listing = await self.question("GET", "/v1/models", timeout_s=timeout_s)
        if isinstance(listing, ModelFault):
            return faults.of_set_up(listing)
        return guarded(lambda: props_of(props, listing))

    async def question(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        timeout_s: float = QUESTION_S,
        bytes_max: int = CONTROL_BYTES_MAX,
    ) -> Mapping[str, object] | ModelFault:
        raw = await self.ask(method, path, timeout_s, body, bytes_max)
        if isinstance(raw, ModelFault):
            return raw
        try:
            value = loads(raw)
        except ValueError:
            return unreadable(f"{path} is not JSON")
        return value if isinstance(value, dict) else unreadable(f"{path} is not an object")

    async def ask(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: Mapping[str, object] | None = None,
        bytes_max: int = CONTROL_BYTES_MAX,
    ) -> bytes | ModelFault:
        """One exchange: the body of a 200, else why not."""
        child = self.child
        address, key = (child.address, child.key) if child is not None else (self.url or "", self._key)
        content = None if body is None else dumps(body)
        try:
            async with asyncio.timeout(timeout_s):
                request = httpx.Request(
                    method,
                    address + path,
                    content=content,
                    headers=HEADERS | ({"Authorization": f"Bearer {key}"} if key else {}),
                    extensions={"timeout": httpx.Timeout(None, connect=CONNECT_S).as_dict(), **self._trace()},
                )
                return await self._receive(request, bytes_max)
        except TimeoutError:
            said = f"no answer within {timeout_s:.0f} s"
            return ModelFault(Category.TIMEOUT, said, is_temporary=True, is_server_lost=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return await self._lost(child, f"{type(error).__name__}: {error}", not isinstance(error, _UNSENT))
        except Exception as error:  # noqa: BLE001  (what comes over a wire must not end more than one call)
            return unreadable(f"{type(error).__name__}: {error}")

    async def _receive(self, request: httpx.Request, bytes_max: int) -> bytes | ModelFault:
        response = await self._transport.handle_async_request(request)
        try:
            status, raw = response.status_code, cast(AsyncGenerator[bytes, None], response.aiter_raw())
            body = await received(status, response.headers, raw, bytes_max)
        finally:
            await response.aclose()
        if isinstance(body, ModelFault):
            return body
        if status != httpx.codes.OK:
            return with_wait(faults.fault_of_error(status, body.content), response.headers)
        return body.refused() or body.content

    async def _lost(self, child: Child | None, error: str, is_sent: bool) -> ModelFault:
        """The connection failed: the child is dead, dying, or alive all the same."""
        if child is None:
            by = f" by {self._proxy}" if self._proxy else ""
            said = f"{self.url} does not answer{by} ({error})"
            # One that had the request may have died of it.
            category = Category.CRASH if is_sent else Category.NETWORK
            return ModelFault(category, said, is_temporary=True, is_server_lost=True)
        for _ in range(round(END_SEEN_S / END_STEP_S)):
            exit_code = child.exit_code()
            if exit_code is not None:
                return faults.fault_of_end(child.exit_reason(), exit_code)
            await asyncio.sleep(END_STEP_S)
        return ModelFault(
            Category.SERVER, f"the llama.cpp server broke a connection ({error})", is_temporary=True
        )
