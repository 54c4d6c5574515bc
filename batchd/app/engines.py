"""Engines: the model server that the settings ask for, and the limits it begins with.

SUMMARY
    Ollama attached, Ollama of our own, llama.cpp in a child of ours, or any llama-server by its URL. Which of
    them is decided once, here, and never changed behind the operator's back.

DIAGNOSTICS
    Fatal: ConfigError or UnavailableError, with the next step.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from batchd.app.own_models import refuse_unreadable
from batchd.core.fault import ModelFault
from batchd.core.limits import Limits
from batchd.core.model import Load, ServerDescription
from batchd.daemon.ports import Clock, ModelServer
from batchd.edges.gpu import read_cards
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.llamacpp_child import THREADS, start_child
from batchd.edges.ollama import OllamaServer, is_loopback
from batchd.edges.ollama_server import OwnOllama, find_mode
from batchd.errors import ConfigError, UnavailableError
from batchd.settings import Settings

#: How long a model server may be out of reach before a foreground run gives up.
REACH_TIMEOUT_S = 30.0

#: One question, and the pause before the next.
ASK_TIMEOUT_S = 5.0
ASK_PAUSE_S = 0.5

#: Ollama's program, looked up on the path, where no other is named.
OLLAMA_PROGRAM = "ollama"


_OLLAMA_HINT = (
    "Start it (`systemctl start ollama`, or `ollama serve`), name another with BATCHD_OLLAMA__HOST, "
    "have batchd start one of its own (BATCHD_OLLAMA__MODE=own), or use --engine llamacpp."
)
_URL_HINT = "Start that llama-server, or mend llamacpp.url and llamacpp.api_key; `batchd config` shows them."
_CHILD_HINT = "Install the engine into the environment of this batchd."


async def as_wished(load: Load) -> Load:
    """Where nothing was measured on this machine."""
    return load


@dataclass(frozen=True, slots=True)
class Engine:
    """A model server, what it is allowed, where it is, and the load that is best instead of a wished one."""

    server: ModelServer
    limits: Limits
    name: str
    address: str
    hint: str  # what a person may do when it cannot be used
    forget: Callable[[str], None] = lambda batch_id: None  # a batch is done
    advise: Callable[[Load], Awaitable[Load]] = as_wished


async def build_engine(settings: Settings, clock: Clock) -> Engine:
    """The engine of these settings; an own server is started at its first load."""
    if settings.engine == "llamacpp":
        return _llamacpp(settings)
    ollama = settings.ollama
    binary = str(ollama.binary or OLLAMA_PROGRAM)
    mode = await find_mode(ollama.mode, ollama.host, binary)
    slots = settings.slots_for(is_attached=mode == "attach")
    own = None
    if mode == "own":
        refuse_unreadable(os.environ, ollama.models_dir)
        models = str(ollama.models_dir) if ollama.models_dir is not None else None
        own = OwnOllama(binary, slots, os.environ, clock, models)
    server = OllamaServer(ollama.host, mode, clock, allow_remote=settings.allow_remote_models, own=own)
    address = "a private server" if mode == "own" else ollama.host
    has_card = (mode == "own" or is_loopback(ollama.host)) and bool(read_cards()[0])
    limits = Limits(slots, owns_slots=mode == "own", has_card=has_card)
    return Engine(server, limits, "ollama", address, _OLLAMA_HINT)


async def wait_for(engine: Engine, clock: Clock) -> ServerDescription:
    """The server's description; UnavailableError when it stays out of reach."""
    until = clock.monotonic() + REACH_TIMEOUT_S
    while True:
        described = await engine.server.describe(ASK_TIMEOUT_S)
        if isinstance(described, ServerDescription):
            return described
        if not described.is_temporary or described.needs_operator or clock.monotonic() >= until:
            raise out_of_reach(engine, described)
        await clock.sleep(ASK_PAUSE_S)


def _llamacpp(settings: Settings) -> Engine:
    chosen = settings.llamacpp
    if chosen.url is not None:
        key = chosen.api_key.get_secret_value() if chosen.api_key is not None else ""
        slots = settings.slots_for(is_attached=True)
        server = LlamaServer(url=chosen.url, key=key)
        return Engine(server, Limits(slots, False), "llamacpp", chosen.url, _URL_HINT)
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
        snapshots_in=snapshots_in,
        snapshot_bytes_max=chosen.snapshot_mib * 2**20,
    )
    slots = settings.slots_for(is_attached=False)
    limits = Limits(slots, owns_slots=True)
    return Engine(server, limits, "llamacpp", "a child process", _CHILD_HINT, server.forget)


def out_of_reach(engine: Engine, fault: ModelFault) -> UnavailableError:
    """The error for a model server that does not answer as it should."""
    return UnavailableError(
        f"The model server at {engine.address} cannot be used: {fault.message}", engine.hint
    )
