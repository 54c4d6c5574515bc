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

import shutil
from pathlib import Path

import httpx
from loguru import logger

from batchd.errors import ConfigError

#: One look may take so long: a server that is busy starting answers late.
PROBE_S = 2.0

_UNIT_DIRECTORIES = (
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
    mode: str, host: str, binary: str | None, unit_directories: tuple[Path, ...] = _UNIT_DIRECTORIES
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
    chosen = choose_mode(await is_answering(host), _is_local(host), has_one, has_binary)
    logger.bind(event="ollama_mode").info("Ollama: {} ({})", chosen, host)
    return chosen


def has_unit(unit_directories: tuple[Path, ...] = _UNIT_DIRECTORIES) -> bool:
    return any((directory / "ollama.service").exists() for directory in unit_directories)


async def is_answering(address: str) -> bool:
    url = address if "://" in address else f"http://{address}"
    try:
        async with httpx.AsyncClient(
            timeout=PROBE_S, trust_env=not _is_local(address), verify=url.startswith("https://")
        ) as client:
            response = await client.get(f"{url.rstrip('/')}/api/version")
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return response.status_code == 200


def _is_local(address: str) -> bool:
    name = httpx.URL(address if "://" in address else f"http://{address}").host
    return name in ("", "localhost", "0.0.0.0", "::", "::1") or name.startswith("127.")
