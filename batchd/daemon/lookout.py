"""Lookout: looks every few seconds at what the machine has left, and says what it means for the work.

SUMMARY
    `run` reads the gauges, lets the core judge, and tells whoever wired it: each reading, and each thing that
    happened. `is_held` stops the dispatcher from sending more. While there is work the machine is kept awake,
    and it is looked at often; without work, seldom.

    Everything here is a courtesy: gauges that fail or hang are said once and change nothing.

DIAGNOSTICS
    Warning: a mark that was passed, a hold, a driver that does not answer, gauges that hang; each once.
"""

from collections.abc import Callable

from loguru import logger

from batchd.core.readings import (
    Eased,
    Happened,
    Held,
    Reading,
    Strained,
    Tension,
    Warned,
    Woke,
    after_reading,
    measures_of,
)
from batchd.daemon.ports import Clock, Gauges, SleepInhibitor

#: Memory fills within seconds when a neighbour loads a model; a look takes some milliseconds.
WORKING_LOOK_S = 5.0

#: Without work only a sleep of the machine matters, and an idle card shall not be woken for nothing.
IDLE_LOOK_S = 60.0

#: A driver that hangs must not be waited for.
GAUGES_S = 3.0


class Lookout:
    """Reads the gauges for as long as it runs."""

    def __init__(
        self,
        gauges: Gauges,
        inhibitor: SleepInhibitor,
        clock: Clock,
        is_working: Callable[[], bool],
        on_reading: Callable[[Reading], None],
        on_happened: Callable[[Happened], None],
    ) -> None:
        self._gauges = gauges
        self._inhibitor = inhibitor
        self._clock = clock
        self._is_working = is_working
        self._on_reading = on_reading
        self._on_happened = on_happened
        self._tension = Tension()
        self._latest: Reading | None = None
        self._looked_at = -IDLE_LOOK_S
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<Lookout {dict(self._tension.levels)}, {'held' if self.is_held else 'sending'}>"

    @property
    def is_held(self) -> bool:
        """Whether nothing new may be sent to the model."""
        return self._tension.is_held

    def notice(self) -> str:
        """What a person must know; empty while the work goes on."""
        if not self.is_held or self._latest is None:
            return ""
        worst = max(self._tension.levels.values())
        measures = measures_of(self._latest)
        texts = [item.text for item in measures if self._tension.levels.get(item.name) is worst]
        return f"memory is short: {'; '.join(texts)}; nothing new is sent until that eases"

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                is_working = self._is_working()
                if is_working:
                    await self._inhibitor.hold()
                else:
                    await self._inhibitor.release()
                now = self._clock.monotonic()
                if is_working or now - self._looked_at >= IDLE_LOOK_S:
                    self._looked_at = now
                    await self._look()
                await self._clock.sleep(WORKING_LOOK_S)
        finally:
            await self._inhibitor.release()

    async def _look(self) -> None:
        reading = await self._gauges.read(GAUGES_S)
        self._say_trouble("the gauges of this machine hang" if reading is None else reading.gpu_trouble)
        if reading is not None:
            self._on_reading(reading)
        reading = reading or Reading()  # an old reading is no reason to hold anything
        self._latest = reading
        self._tension, happened = after_reading(self._tension, reading, self._clock.monotonic())
        for item in happened:
            _say(item)
            self._on_happened(item)

    def _say_trouble(self, text: str) -> None:
        if text and not self._trouble:
            logger.bind(event="gauges").warning("{}; the work goes on without that reading", text)
        elif self._trouble and not text:
            logger.bind(event="gauges").info("the gauges of this machine answer again")
        self._trouble = text


def _say(happened: Happened) -> None:
    match happened:
        case Warned(text):
            logger.bind(event="memory_warned").warning("memory: {}", text)
        case Held(text):
            logger.bind(event="memory_held").warning("memory: {}; nothing new is sent until that eases", text)
        case Eased(text):
            logger.bind(event="memory_eased").info("memory: sending again {}", text and f"({text})")
        case Strained(text):
            logger.bind(event="memory_strained").warning("memory: {}; the model should take less", text)
        case Woke(slept_s):
            logger.bind(event="woke").warning(
                "the machine slept for {:.0f} s: the model is proven again", slept_s
            )
