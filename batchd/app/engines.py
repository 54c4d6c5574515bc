"""Engines: the model server that the settings ask for, and the limits it begins with.

SUMMARY
    Ollama attached, Ollama of our own, llama.cpp in a child of ours, or any llama-server by its URL; of the
    first two there may be several. Which of them is decided once, here, and never changed behind the
    operator's back.

DIAGNOSTICS
    Fatal: ConfigError or UnavailableError, with the next step.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchd.app.own_models import refuse_unreadable
from batchd.core.fault import ModelFault
from batchd.core.limits import Limits
from batchd.core.model import Load, ServerDescription
from batchd.core.proxy import is_loopback
from batchd.core.text import printable
from batchd.daemon.ports import Clock, ModelServer
from batchd.edges.gpu import read_cards
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.llamacpp_child import THREADS, start_child
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import (
    PROMPT_CACHE_MIB,
    UNIT_DIRECTORIES,
    OwnOllama,
    UnitLog,
    find_mode,
    has_unit,
)
from batchd.edges.sockets import Whose, held_by, is_user
from batchd.errors import ConfigError, UnavailableError
from batchd.settings import Settings
from batchd.settings.proxy import proxy_to

_T = TypeVar("_T")

#: How long a model server may be out of reach before a foreground run gives up.
REACH_TIMEOUT_S = 30.0

#: One question, and the pause before the next.
ASK_TIMEOUT_S = 5.0
ASK_PAUSE_S = 0.5

#: What an own server is called: its port is nobody's business.
PRIVATE = "a private server"

#: Ollama's program, looked up on the path, where no other is named.
OLLAMA_PROGRAM = "ollama"


_OLLAMA_HINT = (
    "Start it (`systemctl start ollama`, or `ollama serve`), name another with BATCHD_OLLAMA__HOST, "
    "have batchd start one of its own (BATCHD_OLLAMA__MODE=own), or use --engine llamacpp."
)
_URL_HINT = "Start that llama-server, or mend llamacpp.url and llamacpp.api_key; `batchd config` shows them."
_CHILD_HINT = "Install the engine into the environment of this batchd."


async def keep_nothing(batch_id: str) -> None:
    """Where nothing is kept of a batch."""


async def as_wished(load: Load) -> Load:
    """Where nothing was measured on this machine."""
    return load


@dataclass(frozen=True, slots=True)
class Engine:
    """A model server, what it is allowed, where it is, and the load that is best instead of a wished one.

    `label` names it where there are several. `is_local`: it uses the cards of this machine, or only `gpu`.
    `prompt_cache_mib`: host memory for prompts that a slot gave up, from where they come into any slot; 0:
    none. None: it is not ours, and no API tells (llama.cpp's default is 8,192).
    """

    server: ModelServer
    limits: Limits
    name: str
    address: str
    hint: str  # what a person may do when it cannot be used
    forget: Callable[[str], Awaitable[None]] = keep_nothing  # a batch is done
    advise: Callable[[Load], Awaitable[Load]] = as_wished
    label: str = ""
    is_local: bool = True
    gpu: str | None = None
    prompt_cache_mib: int | None = None


async def build_engines(settings: Settings, clock: Clock) -> list[Engine]:
    """The engines of these settings; an own server is started at its first load.

    Several: attached ones (`ollama.hosts`), or one of our own for each card (`ollama.gpus`).
    """
    if settings.engine == "llamacpp":
        return [_llamacpp(settings)]
    chosen = settings.ollama
    if chosen.hosts:
        has_card = any(map(is_loopback, chosen.hosts)) and await _sees_card()
        return [_attached(settings, host, clock, has_card, label=host) for host in chosen.hosts]
    program = str(chosen.binary or OLLAMA_PROGRAM)
    mode = await find_mode("own" if chosen.gpus else chosen.mode, chosen.host, program)
    if mode == "attach":
        has_card = is_loopback(chosen.host) and await _sees_card()
        return [_attached(settings, chosen.host, clock, has_card)]
    refuse_unreadable(os.environ, chosen.models_dir)
    has_card = await _sees_card()
    return [_own(settings, program, clock, has_card, gpu) for gpu in chosen.gpus or (None,)]


async def _sees_card() -> bool:
    return bool((await asyncio.to_thread(read_cards))[0])


async def build_engine(settings: Settings, clock: Clock) -> Engine:
    """The first of them, for what is done with one server."""
    return (await build_engines(settings, clock))[0]


def _attached(settings: Settings, host: str, clock: Clock, has_card: bool, label: str = "") -> Engine:
    slots, is_local = settings.slots_for(is_attached=True), is_loopback(host)
    whose = Whose(host, _known(settings.ollama.user)) if is_local else None
    server = OllamaServer(
        host,
        "attach",
        clock,
        allow_remote=settings.allow_remote_models,
        proxy=proxy_to(host),
        whose=whose,
        log=journal_of(settings, host),
    )
    limits = Limits(slots, owns_slots=False, has_card=has_card and is_local)
    return Engine(server, limits, "ollama", host, _OLLAMA_HINT, label=label, is_local=is_local)


def journal_of(
    settings: Settings, host: str, unit_directories: tuple[Path, ...] = UNIT_DIRECTORIES
) -> UnitLog | None:
    """What an attached server of this machine logs, where it is a service."""
    unit = settings.ollama.unit
    is_here = bool(unit) and is_loopback(host) and has_unit(unit_directories, unit)
    return UnitLog(unit) if is_here else None


def _own(settings: Settings, program: str, clock: Clock, has_card: bool, gpu: str | None) -> Engine:
    chosen, slots = settings.ollama, settings.slots_for(is_attached=False)
    models = str(chosen.models_dir) if chosen.models_dir is not None else None
    own = OwnOllama(program, slots, os.environ, clock, held_by, models, gpu)
    server = OllamaServer(chosen.host, "own", clock, allow_remote=settings.allow_remote_models, own=own)
    limits = Limits(slots, owns_slots=True, has_card=has_card)
    if gpu is None or len(chosen.gpus) == 1:
        return Engine(
            server, limits, "ollama", PRIVATE, _OLLAMA_HINT, gpu=gpu, prompt_cache_mib=PROMPT_CACHE_MIB
        )
    return Engine(
        server,
        limits,
        "ollama",
        f"{PRIVATE} on GPU {gpu}",
        _OLLAMA_HINT,
        label=f"gpu:{gpu}",
        gpu=gpu,
        prompt_cache_mib=PROMPT_CACHE_MIB,
    )


def _known(user: str | None) -> str | None:
    """A name that nobody has would refuse everybody."""
    if user is not None and not is_user(user):
        raise ConfigError(
            f"There is no user '{printable(user)}' on this machine, and ollama.user names it.",
            "Name the user as whom Ollama runs; `batchd doctor` shows who listens.",
        )
    return user


async def ask_all(
    engines: Sequence[Engine], question: Callable[[ModelServer], Coroutine[Any, Any, _T]]
) -> list[_T]:
    """Each server, side by side; the answers in the order of the engines."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(question(engine.server)) for engine in engines]
    return [task.result() for task in asked]


async def wait_for(engines: Sequence[Engine], clock: Clock) -> list[ServerDescription]:
    """The descriptions of those that answer, in the order of the engines; UnavailableError when all of them
    stay out of reach. Those that do not answer now are waited for by whoever uses them."""
    until = clock.monotonic() + REACH_TIMEOUT_S
    while True:
        answers = await ask_all(engines, lambda server: server.describe(ASK_TIMEOUT_S))
        described = [answer for answer in answers if isinstance(answer, ServerDescription)]
        if described:
            return described
        faults = [answer for answer in answers if isinstance(answer, ModelFault)]
        is_hopeless = all(not fault.is_temporary or fault.needs_operator for fault in faults)
        if is_hopeless or clock.monotonic() >= until:
            raise out_of_reach(engines[0], faults[0])
        await clock.sleep(ASK_PAUSE_S)


def _llamacpp(settings: Settings) -> Engine:
    chosen = settings.llamacpp
    if chosen.url is not None:
        key = chosen.api_key.get_secret_value() if chosen.api_key is not None else ""
        slots = settings.slots_for(is_attached=True)
        server = LlamaServer(url=chosen.url, key=key, proxy=proxy_to(chosen.url))
        is_local = is_loopback(chosen.url)
        return Engine(server, Limits(slots, False), "llamacpp", chosen.url, _URL_HINT, is_local=is_local)
    if chosen.gguf is None and not chosen.models:
        raise ConfigError(
            "The engine llamacpp has no model file.",
            "Name one with --gguf FILE, or set llamacpp.models or llamacpp.url.",
        )
    for path in (*chosen.models.values(), *([chosen.gguf] if chosen.gguf else [])):
        if not path.is_file():
            raise ConfigError(f"There is no model file {path}.", "Name a GGUF file that exists.")

    snapshots_in = settings.spool / "snapshots" if chosen.snapshot_mib else None
    start = partial(
        start_child,
        cache_ram_mib=chosen.cache_ram_mib,
        threads=chosen.threads or THREADS,
        snapshots_in=snapshots_in,
    )
    server = LlamaServer(
        models=chosen.models,
        any_gguf=chosen.gguf,
        start_child=start,
        sockets_of=held_by,
        snapshots_in=snapshots_in,
        snapshot_bytes_max=chosen.snapshot_mib * 2**20,
    )
    slots = settings.slots_for(is_attached=False)
    limits = Limits(slots, owns_slots=True)
    return Engine(
        server,
        limits,
        "llamacpp",
        "a child process",
        _CHILD_HINT,
        server.forget,
        prompt_cache_mib=chosen.cache_ram_mib,
    )


def out_of_reach(engine: Engine, fault: ModelFault) -> UnavailableError:
    """The error for a model server that does not answer as it should."""
    return UnavailableError(f"The model server at {engine.address} cannot be used: {fault.told}", engine.hint)
