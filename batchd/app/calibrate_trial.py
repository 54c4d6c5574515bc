"""Bench: one load after the other, each with what it took; the hands of a calibration.

SUMMARY
    trial    load, ask every slot once, measure the memory; it fits only if all of that went well
    load     the same load for measuring rates, without being counted as a trial

    Where the memory is the machine's and not a card's, a load is not even tried that by the line would take
    more than is free: the kernel would kill the largest program, whoever's it is. On a machine with a card a
    model that lies beside it, be it in part, does not fit.

DIAGNOSTICS
    Fatal: UnavailableError for a fault that says nothing about memory: the server is gone, or must be mended.
"""

from batchd.app.blocking import abandonable
from batchd.app.drill import Tally, ask
from batchd.app.engines import Engine, out_of_reach
from batchd.app.gauges import look_at_machine, programs_of
from batchd.core.calibration import Line, Trial, fit_line
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load, Loaded
from batchd.core.readings import Reading
from batchd.daemon.ports import Clock
from batchd.settings import Settings

#: Of the free memory of the machine, what a load may be expected to take.
FREE_SHARE = 0.85

#: The server may die of a load in several ways; all of them mean that it was too much.
TOO_MUCH = frozenset({Category.OOM, Category.CRASH, Category.TIMEOUT})

#: Tokens a second that a slow machine reads: how long the long prompts may be, until a rate is measured.
_RATE_GUESSED = 100.0

LOAD_S = 600.0
RESTART_S = 60.0
LOOK_S = 10.0

_BYTES_PER_MIB = 2**20


class Bench:
    """One model on one server."""

    def __init__(self, engine: Engine, settings: Settings, model: str, clock: Clock) -> None:
        self._engine = engine
        self._server = engine.server
        self._model = model
        self._clock = clock
        self._programs = programs_of(settings)
        self._free_bytes: float | None = None
        self._card_count = 0
        self._tokens_per_word = 1.5
        self.cap = settings.window_tokens_max
        self.trials: list[Trial] = []
        self.line: Line | None = None
        self.source = "unknown"
        self.loaded: Loaded | None = None
        self.prefill_rate = _RATE_GUESSED
        self.measured_rate = 0.0  # of reading; 0: the server does not tell what it read
        self.peak_bytes: int | None = None

    def begin(self, reading: Reading) -> None:
        """Before the first load: what is free."""
        self._card_count = len(reading.cards)
        self._free_bytes = None if reading.cards else free_bytes(reading)

    def begin_peak(self) -> None:
        """From here on the highest memory is kept."""
        self.peak_bytes = None

    def words_for(self, tokens: float) -> int:
        """How many words give so many tokens, as this model counts them."""
        return max(2, int(tokens / self._tokens_per_word))

    async def trial(self, slots: int, window_tokens: int) -> Trial:
        """One load, tried. The same load is not tried twice."""
        known = [item for item in self.trials if (item.slots, item.window_tokens) == (slots, window_tokens)]
        if known:
            return known[0]
        trial = await self._tried(slots, window_tokens)
        self.trials.append(trial)
        self.line = fit_line(self.trials)
        return trial

    async def load(self, slots: int, window_tokens: int) -> Loaded | ModelFault:
        """Bring it in. After a death, as often as a load is a fault of memory, the server is made fresh."""
        loaded = await self._server.load(Load(self._model, window_tokens, slots), LOAD_S)
        if isinstance(loaded, ModelFault):
            self.loaded = None
            if loaded.category not in TOO_MUCH:
                raise out_of_reach(self._engine, loaded)
            await self._server.restart(RESTART_S)
            return loaded
        self.loaded = loaded
        if loaded.window_tokens_max is not None:
            self.cap = min(self.cap, loaded.window_tokens_max)
        return loaded

    async def warm(self, slots: int) -> Tally:
        """Each slot reads the shared beginning, and shows how fast it reads."""
        tally = await ask(self._server, self._model, slots, self._clock)
        if tally.fault is not None:
            await self._server.restart(RESTART_S)
        else:
            self._tokens_per_word = tally.prompt_tokens / max(tally.words, 1)
            if tally.prefill_rate:
                self.prefill_rate = self.measured_rate = tally.prefill_rate
        return tally

    async def look(self) -> int | None:
        """What the model server holds now; None where nobody tells. The highest one is kept."""
        reading = await abandonable(look_at_machine, self._programs)
        size, self.source = held_bytes(reading, self.loaded)
        if size is not None:
            self.peak_bytes = max(size, self.peak_bytes or 0)
        return size

    async def _tried(self, slots: int, window_tokens: int) -> Trial:
        tokens = slots * window_tokens
        if self.line is not None and self._free_bytes is not None:
            expected = self.line.at(tokens) + self.line.residual_bytes
            if expected > self._free_bytes * FREE_SHARE:
                why = f"not tried: {expected / 1e9:.1f} GB expected, {self._free_bytes / 1e9:.1f} GB free"
                return Trial(slots, window_tokens, False, None, why)
        loaded = await self.load(slots, window_tokens)
        if isinstance(loaded, ModelFault):
            return Trial(slots, window_tokens, False, None, loaded.message)
        if loaded.window_tokens < min(window_tokens, self.cap):
            return Trial(slots, window_tokens, False, None, f"the server gave {loaded.window_tokens} tokens")
        asked = await self.warm(slots)
        if asked.fault is not None:
            return Trial(slots, window_tokens, False, None, asked.fault.message)
        beside = beside_the_card(loaded, self._card_count)
        if beside is not None:
            return Trial(slots, window_tokens, False, None, beside)
        return Trial(slots, window_tokens, True, await self.look())


def free_bytes(reading: Reading) -> float | None:
    """What a load may have, of the machine and of our control group; None where nobody tells."""
    known = [] if reading.memory_free_bytes is None else [reading.memory_free_bytes]
    if reading.group_limit_bytes is not None and reading.group_used_bytes is not None:
        known.append(reading.group_limit_bytes - reading.group_used_bytes)
    return min(known, default=None)


def held_bytes(reading: Reading, loaded: Loaded | None) -> tuple[int | None, str]:
    """The driver knows best what lies on a card, then the server itself, then the kernel."""
    ours = [card.ours_mib for card in reading.cards if card.ours_mib is not None]
    if ours:
        return sum(ours) * _BYTES_PER_MIB, "driver"
    if loaded is not None and loaded.size_bytes is not None:
        return loaded.size_bytes, "server"
    return reading.server_bytes, "kernel" if reading.server_bytes is not None else "unknown"


def beside_the_card(loaded: Loaded, card_count: int) -> str | None:
    """Why this load does not count as one; None where it lies on the card, or there is none."""
    if not card_count or not loaded.size_bytes or loaded.gpu_bytes is None:
        return None
    share = loaded.gpu_bytes / loaded.size_bytes
    return None if share >= 1 else f"only {share:.0%} of it lie on the GPU"
