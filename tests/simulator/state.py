"""What a simulator is set to, what it saw, what it counted, and which faults are switched on.

SUMMARY
    Settings   frozen; rates of 0 answer at once
    Seen       one request, as it stood in the log before it was answered
    Counts     totals that a test compares
    Faults     switched on by a test, used up as they strike

DIAGNOSTICS
    None.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from tests.simulator.machine import Machine
from tests.simulator.models import DEFAULT_MODELS, ModelSpec

#: Faults that are a number of answers still to strike.
COUNTED_FAULTS = frozenset({"busy", "undone", "garbage", "drop", "crossed"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Rates are tokens per second in one slot. `delay_s` comes before each answer, plus or minus `jitter_s`.

    `memory_bytes` is what a load may take (None: no limit); `gpu_bytes` is the GPU (0: none); these and the
    fields after them are as in `machine.Machine`. `dies_silently`: a death out of memory leaves no word of
    it, as the kernel's does. `weights_bytes` and `kv_bytes` (a token of a slot) replace those of the first
    model. Answers have `answer_tokens` tokens where no bound or stop string ends them.
    """

    version: str = "0.33.0-rc2"
    slots: int = 1
    load_s: float = 0.0
    hung_unload_s: float = 5.0
    prefill_rate: float = 0.0
    decode_rate: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    seed: int = 1
    answer_tokens: int = 12
    other_digests: int = 0  # 1: its models are other ones, of the same names
    mute: int = 0  # 1: every answer is empty, as with a wrong template
    log_lines: int = 0  # 1: says on standard output what a runner writes into the log
    dated: int = 0  # 1: the template puts something first that is another one for each request
    memory_bytes: int | None = None
    gpu_bytes: int = 0
    spike_bytes: int = 0
    spike_share: float = 0.0
    leak_bytes: int = 0
    dying_loads: int = 0
    dies_silently: int = 0
    weights_bytes: int = 0
    kv_bytes: int = 0
    max_queue: int = 512
    max_loaded: int = 1
    default_window: int = 4096
    models: tuple[ModelSpec, ...] = DEFAULT_MODELS
    seen_max: int = 200_000  # requests kept in memory; a test of more writes a log file instead

    def machine(self, memory_bytes: int | None) -> Machine:
        """With so much memory: a test may change that while it runs."""
        vices = (self.spike_bytes, self.spike_share, self.leak_bytes, self.dying_loads)
        return Machine(memory_bytes, self.gpu_bytes, *vices)

    def specs(self) -> tuple[ModelSpec, ...]:
        """The models, with the sizes that were set."""
        first, *others = self.models
        first = replace(
            first,
            size_bytes=self.weights_bytes or first.size_bytes,
            kv_bytes=self.kv_bytes or first.kv_bytes,
        )
        return (first, *others)

    @property
    def reports_cached(self) -> bool:
        """Cached tokens are reported from 0.33.3 on."""
        numbers = self.version.split("-")[0].split(".")
        return tuple(int(number) for number in numbers) >= (0, 33, 3)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: `at` in seconds since the epoch, `tag` as its answer carries it (None for a load)."""

    number: int
    at: float
    path: str
    tag: str | None
    body: Mapping[str, object]


@dataclass(slots=True)
class Counts:
    """`requests` are calls that ask for an answer, not preloads; `answers` of them ended well."""

    requests: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    evaluated_tokens: int = 0
    loads: int = 0
    unloads: int = 0
    kills: int = 0
    in_flight: int = 0
    in_flight_max: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(slots=True)
class Faults:
    """Numbers say how many of the next answers strike; `delays` (seconds) are used one by one.

    `version`: it is another one from now on. `poison`: a text in the prompt, and what it does: kill, hang,
    oom, undone, garbage, drop, "late SECONDS", or "held" until `is_released`.
    """

    busy: int = 0
    undone: int = 0
    garbage: int = 0
    drop: int = 0
    is_released: bool = False
    crossed: int = 0  # answers of another model, as if for another request
    delays: deque[float] = field(default_factory=deque)
    version: str = ""
    poison: dict[str, str] = field(default_factory=dict)

    def poison_in(self, prompt: str) -> str | None:
        return (
            next((kind for text, kind in self.poison.items() if text in prompt), None)
            if self.poison
            else None
        )

    def take(self, name: str) -> bool:
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0
