"""The values that pass between the daemon and a model server.

SUMMARY
    `Load` is what we ask for; `Loaded` is what the server then says it has. `Answer` is one finished answer
    with its `Usage`. They live in the core because the two wings of the house share no door.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from batchd.core.schema import Breach


class Source(StrEnum):
    """Where a count comes from; written beside the number in every result."""

    ENGINE = "engine"  # the engine reported it for this very answer
    LOG = "log"  # the engine wrote it into its log, and there it was read
    ESTIMATE = "estimate"  # of sums only, and only where it is bounded: never of one answer
    UNKNOWN = "unknown"  # nobody knows, and nothing is claimed


@dataclass(frozen=True, slots=True)
class Load:
    """What the model server shall hold: one model, `slots` windows of `window_tokens` tokens each.

    `accepts_larger`: a larger window that an attached server has loaded already is as good, since to load the
    model again would cost everybody else who uses it.
    """

    model: str
    window_tokens: int
    slots: int
    is_embedding: bool = False
    accepts_larger: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the model server says it holds after a load. Bytes are of its own accounting; None = not told."""

    model: str
    digest: str
    quantization: str | None
    window_tokens: int
    slots: int
    size_bytes: int | None
    gpu_bytes: int | None
    window_tokens_max: int | None  # the model's own maximum, from its metadata
    load_s: float
    memory_window_tokens_max: int | None = None  # larger ones did not fit in memory; None = none failed
    vector_length: int | None = None  # numbers in each vector of the canary; None = it had none
    is_window_fixed: bool = False  # the server was started with it; `window_tokens_max` is the same then


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """Who answers: engine (`ollama`, `llamacpp`), its version, how we came to it, and where it is.

    `users`: as whom it runs, where it is on this machine and that can be seen.
    """

    engine: str
    version: str
    mode: str  # attach, own, child, url
    address: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer and the engine's own durations in seconds (None = not told).

    `prompt_tokens` counts the whole prompt; `cached_tokens` is the part of it that was not read again.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    cached_source: Source
    prefill_s: float | None
    decode_s: float | None

    @property
    def is_counted(self) -> bool:
        """Whether the engine itself counted what was cached."""
        return self.cached_source in (Source.ENGINE, Source.LOG)

    @property
    def evaluated_tokens(self) -> int | None:
        """What was read for this answer; None where nobody says what was cached."""
        return self.prompt_tokens - (self.cached_tokens or 0) if self.is_counted else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished answer. `embeddings` has one vector per input, in input order; text is then empty.

    `finish_reason` is OpenAI's word: `stop` or `length`. `reload_s`: how long the server took to bring the
    model in again for this request, because it was not there any more; 0 where it was. `breach`: what is
    wrong with it, where it is given all the same.

    `late`: what was cached is still being looked for, in a log that comes after the answer. It takes a
    function, and calls it once with the whole usage, within a second or two; the slot need not wait for it.
    None: `usage` is all that will be known.
    """

    text: str
    reasoning: str | None
    finish_reason: str
    usage: Usage
    embeddings: tuple[tuple[float, ...], ...] = ()
    reload_s: float = 0.0
    breach: Breach | None = None
    late: Callable[[Callable[[Usage], None]], None] | None = field(default=None, compare=False, repr=False)

    @property
    def has_zeros(self) -> bool:
        """Whether one of its vectors is nothing but zeros."""
        return any(not any(vector) for vector in self.embeddings)
