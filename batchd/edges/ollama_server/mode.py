"""Whose Ollama: `auto` decided once.

SUMMARY
    find_mode     attach if one answers, or will: its unit is installed, or it is another machine; else own
    choose_mode   the decision behind it, pure
    is_answering  the probe
    has_unit      whether Ollama is installed as a service

    An attached server that does not answer yet is waited for by whoever uses it: for 30 s by a foreground
    run, for ever by the daemon.

DIAGNOSTICS
    Fatal: ConfigError for a program that is missing.
"""

import asyncio
import shutil
from pathlib import Path

import httpx
from loguru import logger

from batchd.core.body import HEADERS
from batchd.core.proxy import is_loopback
from batchd.errors import ConfigError

#: One look may take so long: a server that is busy starting answers late.
PROBE_S = 2.0

#: What the official installer calls it, and the packages of distributions.
SERVICE = "ollama.service"

UNIT_DIRECTORIES = (
    Path("/etc/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)


def choose_mode(answers: bool, is_local: bool, has_unit: bool, has_binary: bool) -> str:
    """Two servers on one card by accident would be worse than either: own comes last.

    Where nothing answers and nothing can be started, attached is right too: somebody may start one.
    """
    return "own" if has_binary and is_local and not has_unit and not answers else "attach"


async def find_mode(
    mode: str, host: str, binary: str | None, unit_directories: tuple[Path, ...] = UNIT_DIRECTORIES
) -> str:
    """`attach` or `own`. A fixed mode is only checked for what it needs."""
    has_binary = binary is not None and shutil.which(binary) is not None
    if mode == "own" and not has_binary:
        raise ConfigError(
            f"ollama.mode is own, but there is no program '{binary or 'ollama'}'.",
            "Install Ollama, or name its program with ollama.binary.",
        )
    if mode != "auto":
        return mode
    has_one = has_unit(unit_directories)
    # One of another machine is attached to whether it answers or not.
    is_local = is_loopback(host)
    chosen = choose_mode(is_local and await is_answering(host), is_local, has_one, has_binary)
    logger.bind(event="ollama_mode").info("Ollama: {} ({})", chosen, host)
    return chosen


def has_unit(unit_directories: tuple[Path, ...] = UNIT_DIRECTORIES, unit: str = SERVICE) -> bool:
    return any((directory / unit).exists() for directory in unit_directories)


async def is_answering(address: str) -> bool:
    """Only the status is read: whoever answers there is asked more by others."""
    url = address if "://" in address else f"http://{address}"
    verify = url.startswith("https://")
    try:
        async with (
            asyncio.timeout(PROBE_S),
            httpx.AsyncHTTPTransport(verify=verify) as transport,
        ):
            request = httpx.Request("GET", f"{url.rstrip('/')}/api/version", headers=HEADERS)
            response = await transport.handle_async_request(request)
            await response.aclose()
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
        return False
    return response.status_code == httpx.codes.OK
