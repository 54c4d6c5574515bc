"""Gauges: everything that can be measured of this machine, as one reading.

SUMMARY
    Which processes are the model server's: what came of our own process (an own server, the embedded engine),
    and the programs of the engine's name that others have started on this machine.

    The reading is made in a thread that nobody has to wait for: a driver that hangs holds that thread and
    nothing else, not even the end of the process.

DIAGNOSTICS
    None: what cannot be measured is absent.
"""

import asyncio
import os
from collections.abc import Callable, Sequence

from batchd.app.blocking import abandonable
from batchd.core.proxy import is_loopback
from batchd.core.readings import Reading
from batchd.edges import memory, pressure
from batchd.edges.clock import suspended_s
from batchd.edges.gpu import read_cards
from batchd.settings import Settings

#: What we start besides a model server, to keep the machine awake.
INHIBIT = "systemd-inhibit"

#: A reading is worth no more of the time that the lookout has for it; the rest is read without the cards.
CARDS_S = 2.0


class MachineGauges:
    """The port `Gauges`. `programs`: names of the model server's programs that we did not start."""

    def __init__(
        self, programs: Sequence[str] = (), look: Callable[[Sequence[str]], Reading] | None = None
    ) -> None:
        self._programs = programs
        self._look = look or look_at_machine
        self._is_looking = False

    async def read(self, timeout_s: float) -> Reading | None:
        if self._is_looking:
            return None  # the last one still hangs
        self._is_looking = True
        try:
            async with asyncio.timeout(timeout_s):
                return await abandonable(self._looked)
        except TimeoutError:
            return None

    def _looked(self) -> Reading:
        try:
            return self._look(self._programs)
        finally:
            self._is_looking = False


def look_at_machine(programs: Sequence[str] = ()) -> Reading:
    """One reading; it blocks for some milliseconds, or for seconds where the driver hangs."""
    pids = server_pids(programs)
    cards, trouble = read_cards(pids, CARDS_S)
    total, free = memory.machine_bytes()
    limit, used = pressure.group_bytes()
    return Reading(
        cards=cards,
        gpu_trouble=trouble,
        memory_total_bytes=total,
        memory_free_bytes=free,
        group_limit_bytes=limit,
        group_used_bytes=used,
        stalled_share=pressure.stalled_share(),
        server_bytes=memory.family_bytes(pids),
        suspended_s=suspended_s(),
    )


def server_pids(programs: Sequence[str]) -> set[int]:
    """The model server's processes, as far as we may see them."""
    us = os.getpid()
    roots = set().union(*(memory.named(name) for name in programs))
    return memory.family({us, *roots}) - memory.family(memory.named(INHIBIT)) - {us}


def programs_of(settings: Settings) -> tuple[str, ...]:
    """What the model server's programs are called on this machine; none where it is another machine's."""
    is_ollama = settings.engine == "ollama"
    ollama = settings.ollama
    url = settings.llamacpp.url
    addresses = (ollama.hosts or (ollama.host,)) if is_ollama else (url,) if url else ()
    if not any(map(is_loopback, addresses)):
        return ()
    return ("ollama",) if is_ollama else ("llama-server",)
