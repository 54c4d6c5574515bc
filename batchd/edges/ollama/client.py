"""HTTP to Ollama: the client of the `ollama` package, with raw bodies and limits of our own.

SUMMARY
    Exchanger.exchange    one call; the body that came with status 200, or the fault that it was

    The package's own methods drop `truncate`, `shift` and unknown fields of an answer, and have no time
    limit, so the bytes go through the HTTP client inside of it. One client for each slot: a shared pool gets
    slower with every request in flight. On loopback the proxy settings of the environment do not apply.

DIAGNOSTICS
    None raised: every failure is a ModelFault. Time-outs and broken connections say that the server is lost.
"""

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from batchd.core import json
from batchd.core.fault import Category, ModelFault
from batchd.edges.ollama.faults import classify


@contextlib.contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """With these variables, or without those that are None; afterwards as it was."""
    before = {name: os.environ.pop(name, None) for name in variables}
    os.environ.update({name: value for name, value in variables.items() if value is not None})
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


# The package makes a client of its own when it is imported, to the server of OLLAMA_HOST, and fails where
# that is no address. Whether it is one is for the settings to say, in a sentence. For that client, which
# nobody uses, it would read all certificates of the system, a twentieth of our start: in a directory they
# are read one by one, as they are needed.
with _environment(OLLAMA_HOST=None, SSL_CERT_FILE=None, SSL_CERT_DIR=str(Path(__file__).parent)):
    import ollama

#: A server on the same machine or network accepts at once; its backlog may hold a moment.
CONNECT_S = 5.0

#: A body of some megabytes on a slow network.
WRITE_S = 60.0

#: The client's own read limit comes after ours, so that one place decides what a time-out is.
READ_MARGIN_S = 5.0


class Exchanger(ollama.AsyncClient):
    """One connection to the server, for one slot or for the control calls."""

    def __init__(self, host: str) -> None:
        # Reading the certificates of the system takes 30 ms, for each slot: only where they are needed.
        verify = host.startswith("https://")
        super().__init__(host, trust_env=not is_loopback(host), follow_redirects=False, verify=verify)

    @property
    def address(self) -> str:
        return str(self._client.base_url).rstrip("/")

    async def close(self) -> None:
        await self._client.aclose()

    async def exchange(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout_s: float
    ) -> object | ModelFault:
        content = None if body is None else json.dumps(body)
        limits = httpx.Timeout(timeout_s + READ_MARGIN_S, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.request(method, path, content=content, timeout=limits)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            message = f"No answer within {timeout_s:g} s."
            return ModelFault(Category.TIMEOUT, message, is_temporary=True, is_server_lost=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            message = f"The model server cannot be reached: {_words(error)}."
            return ModelFault(Category.NETWORK, message, is_temporary=True, is_server_lost=True)
        except httpx.HTTPError as error:
            # It had the request. Whether it died of this one shows when the suspects run alone.
            message = f"The model server broke the connection: {_words(error)}."
            return ModelFault(Category.CRASH, message, is_temporary=True, is_server_lost=True)
        return _read(response.status_code, response.content)


def _words(error: httpx.HTTPError) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _read(status: int, content: bytes) -> object | ModelFault:
    try:
        value = json.loads(content)
    except ValueError:
        if status == 200:
            return ModelFault(Category.SERVER, "The answer is not JSON.", is_temporary=True)
        value = None
    if status == 200:
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            return classify(500, value["error"])
        return value
    said = value.get("error") if isinstance(value, dict) else None
    return classify(status, said if isinstance(said, str) else content.decode(errors="replace"))


def is_loopback(host: str) -> bool:
    name = urlsplit(host if "://" in host else f"//{host}").hostname or "localhost"
    try:
        return ipaddress.ip_address(name).is_loopback or ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return name == "localhost"
