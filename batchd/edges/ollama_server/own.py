"""OwnOllama: an `ollama serve` that is ours, on a port of loopback that it chooses itself.

SUMMARY
    OwnOllama    starts, restarts with other slots, ends; knows what its log says. Models are only read.

    It binds port 0, so that nobody can take its port before it does, and its address is that of the socket on
    which it, or a child of it, is seen to listen. Whoever connects asks (`look`) whether that socket is still
    held: after a death the port is anybody's.

DIAGNOSTICS
    Fatal: ConfigError for a program that cannot be started.
    None else: a server that does not come up is a ModelFault with the end of its log.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from loguru import logger

from batchd.core.fault import Category, ModelFault
from batchd.edges.ollama_server.child import Child, spawn
from batchd.edges.ollama_server.mode import is_answering
from batchd.edges.ollama_server.timings import Timings
from batchd.errors import ConfigError

#: From start to the first answer of `/api/version`: it looks for GPUs first, which takes seconds at most.
START_S = 30.0

#: How long `ollama serve` may take to put its runners out after SIGTERM; a hung one takes five seconds.
STOP_S = 10.0

#: After SIGKILL only the kernel is in the way.
KILL_S = 5.0

#: How often we look whether it answers.
LOOK_S = 0.05

#: Its runner would copy whole slots to host memory, up to 8 GiB, to bring them back into any slot; lanes
#: leave that nothing to do, and a slot keeps its own prefix without it.
PROMPT_CACHE_MIB = 0

#: Lines of the log in a fault's message.
LOG_LINES_SHOWN = 5


#: Which cards a program may see: NVIDIA's, AMD's. Of a machine with both, the number is meant for either.
_CARD_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

#: CUDA counts the fastest card first unless it is told; nvidia-smi and NVML count along the bus.
_CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


class Clock(Protocol):
    """Time, as `daemon/ports` has it."""

    def monotonic(self) -> float: ...

    async def sleep(self, duration_s: float) -> None: ...


class Socket(Protocol):
    """A listening socket of a process of ours, as `edges/sockets` finds it."""

    @property
    def address(self) -> str: ...

    def is_there(self) -> bool: ...

    async def look(self) -> frozenset[int] | ModelFault: ...


class OwnOllama:
    """One `ollama serve` of ours. `environment` is what it inherits; `models` its model directory; `gpu` the
    only card that it shall see, by its number in the order of the bus or by its UUID. `sockets_of` finds the
    listening sockets of a process and its children."""

    def __init__(
        self,
        binary: str,
        slots: int,
        environment: Mapping[str, str],
        clock: Clock,
        sockets_of: Callable[[int], Sequence[Socket]],
        models: str | None = None,
        gpu: str | None = None,
    ) -> None:
        self._binary = binary
        self._slots = slots
        self._inherited = dict(environment)
        self._clock = clock
        self._sockets_of = sockets_of
        self._models = models
        self._gpu = gpu
        self._child: Child | None = None
        self._timings = Timings()
        self._socket: Socket | None = None

    def __repr__(self) -> str:
        state = self._socket.address if self._is_running and self._socket is not None else "not running"
        return f"<OwnOllama {self._slots} slots, {state}>"

    @property
    def _is_running(self) -> bool:
        return self._child is not None and not self._child.has_exited

    async def look(self) -> frozenset[int] | ModelFault:
        """What `edges/ollama` asks at each new connection: our socket, or why nobody is to be believed."""
        if self._socket is None:
            message = "Our own Ollama does not run."
            return ModelFault(Category.NETWORK, message, is_temporary=True, is_server_lost=True)
        return await self._socket.look()

    async def ensure(self, slots: int | None = None) -> str | ModelFault:
        """Its address. Starts it where it does not run; again where it has other slots."""
        wanted = slots or self._slots
        if (
            self._is_running
            and wanted == self._slots
            and self._socket is not None
            and self._socket.is_there()
        ):
            return self._socket.address
        await self.stop()
        self._slots = wanted
        return await self._start()

    def follow(self) -> None:
        """Its log is read from its first line on."""

    def evaluated_tokens(self, prefill_s: float, decode_s: float | None) -> "asyncio.Future[int | None]":
        """What was read for the answer with these durations, by its log; None where that does not say it."""
        return self._timings.evaluated(prefill_s, decode_s)

    def slots_loaded(self) -> int | None:
        """Slots of the last load, by its log."""
        return self._timings.slots

    async def stop(self) -> None:
        """Ask it to end, then kill its whole group."""
        child, self._child, self._socket = self._child, None, None
        self._timings.close()
        if child is None:
            return
        child.send(signal.SIGTERM)
        if not await child.wait(STOP_S):
            logger.bind(event="ollama_killed").warning(
                "Our own Ollama did not end within {:g} s and is killed", STOP_S
            )
            child.kill_group()
            await child.wait(KILL_S)
        child.close()

    def child_environment(self) -> dict[str, str]:
        """What it is started with: ours wins over what it inherits."""
        ours = {
            "OLLAMA_HOST": "127.0.0.1:0",  # a port that it is given when it binds
            "OLLAMA_NUM_PARALLEL": str(self._slots),
            "OLLAMA_MAX_LOADED_MODELS": "1",
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NOPRUNE": "1",  # the models are the user's: nothing is deleted at start
            "OLLAMA_NO_CLOUD": "1",
            "LLAMA_ARG_CACHE_RAM": str(PROMPT_CACHE_MIB),
        }
        if self._models is not None:
            ours["OLLAMA_MODELS"] = self._models
        if self._gpu is not None:
            ours |= dict.fromkeys(_CARD_VARIABLES, self._gpu) | _CARD_ORDER
        return {**self._inherited, **ours}

    def _not_started(self, why: str) -> ConfigError:
        return ConfigError(
            f"The program '{self._binary}' cannot be started: {why}.",
            "Install Ollama, or name its program with ollama.binary.",
        )

    async def _start(self) -> str | ModelFault:
        try:
            self._timings = Timings()
            child = await spawn(self._binary, self.child_environment(), self._timings.note)
        except OSError as error:
            raise self._not_started(error.strerror or "unknown") from error
        self._child = child
        deadline = self._clock.monotonic() + START_S
        while not child.has_exited and self._clock.monotonic() < deadline:
            # Of several, one is the API: while it looks for cards, its runners listen too.
            for socket in await asyncio.to_thread(self._sockets_of, child.pid):
                if await is_answering(socket.address) and socket.is_there():
                    self._socket = socket
                    logger.bind(event="ollama_started").info(
                        "Our own Ollama answers at {} with {} slots", socket.address, self._slots
                    )
                    return socket.address
            await self._clock.sleep(LOOK_S)
        said = " | ".join(list(child.lines)[-LOG_LINES_SHOWN:])
        was_refused = child.was_refused
        await self.stop()
        if was_refused:
            raise self._not_started(said)
        return ModelFault(Category.SERVER, f"Our own Ollama did not come up: {said}", is_temporary=True)
