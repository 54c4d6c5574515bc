"""Whose Ollama: `auto` decided once.

SUMMARY
    find_mode     attach if one answers, wait where its unit is installed, else own
    choose_step   the decision behind it, pure
    is_answering  the probe

DIAGNOSTICS
    Fatal: ConfigError for a program that is missing; UnavailableError when there is nothing to talk to.
"""

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import httpx
from loguru import logger

from batchd.errors import ConfigError, UnavailableError

#: One look may take so long: a server that is busy starting answers late.
PROBE_S = 2.0

#: An installed service may still be starting when we are, after a boot.
SERVICE_WAIT_S = 30.0

#: How often we look for it meanwhile.
SERVICE_LOOK_S = 1.0

_UNIT_DIRECTORIES = (
    Path("/etc/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)


class Clock(Protocol):
    """Time, as `daemon/ports` has it."""

    def monotonic(self) -> float: ...

    async def sleep(self, duration_s: float) -> None: ...


class Step(StrEnum):
    """What to do about `auto` now."""

    ATTACH = "attach"
    OWN = "own"
    WAIT = "wait"
    GIVE_UP = "give up"


def choose_step(answers: bool, is_local: bool, has_unit: bool, has_waited: bool, has_binary: bool) -> Step:
    """Two servers on one card by accident would be worse than either: own comes last."""
    if answers:
        return Step.ATTACH
    if has_unit and is_local and not has_waited:
        return Step.WAIT
    if has_binary and is_local:
        return Step.OWN
    return Step.GIVE_UP


async def find_mode(
    mode: str,
    host: str,
    binary: str | None,
    clock: Clock,
    unit_directories: tuple[Path, ...] = _UNIT_DIRECTORIES,
) -> str:
    """`attach` or `own`. A fixed mode is only checked for what it needs."""
    has_binary = binary is not None and shutil.which(binary) is not None
    if mode == "attach":
        return mode
    if mode == "own":
        if not has_binary:
            raise ConfigError(
                f"ollama.mode is own, but there is no program '{binary or 'ollama'}'.",
                "Install Ollama, or name its program with ollama.binary.",
            )
        return mode
    has_unit = any((directory / "ollama.service").exists() for directory in unit_directories)
    waits_until = clock.monotonic() + SERVICE_WAIT_S
    while True:
        answers = await is_answering(host)
        has_waited = clock.monotonic() >= waits_until
        match choose_step(answers, _is_local(host), has_unit, has_waited, has_binary):
            case Step.WAIT:
                await clock.sleep(SERVICE_LOOK_S)
            case Step.GIVE_UP:
                raise UnavailableError(
                    f"No Ollama answers at {host}, and there is no program to start one.",
                    "Start Ollama, install it, or choose another engine with --engine.",
                )
            case step:
                logger.info("Ollama: {} ({})", step.value, host)
                return step.value


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
