"""Course: what the governor knows of one model on one server, and what may happen to it.

SUMMARY
    `Course` is its memory; each of the others is an event that it is asked to decide about.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass

from batchd.core.edge import NO_EDGE, Edge
from batchd.core.limits import Change, Limits
from batchd.core.model import Load


@dataclass(frozen=True, slots=True)
class Course:
    """All that the governor knows of one model on one server. Counters are of the present load.

    `before` is what a death took while the guilty one was not known. `grown_from` is the number of slots
    before the last growth, and the tokens per second then.
    """

    given: Limits
    limits: Limits
    fitted: Load | None = None
    edge: Edge = NO_EDGE
    answers: int = 0
    judged_answers: int = 0
    tokens: int = 0
    worked_s: float = 0.0
    load_s: float = 0.0
    answers_max: int | None = None
    before: "Course | None" = None
    grown_from: tuple[int, float] | None = None
    spilled_bytes: int | None = None
    accepts_spill: bool = False

    @classmethod
    def begin(cls, given: Limits) -> "Course":
        """Nothing is known yet."""
        return cls(given, given)

    @property
    def per_s(self) -> float:
        """Tokens per second since the slots were last changed."""
        return self.tokens / self.worked_s if self.worked_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A load ran out of memory. Below `window_tokens_min` no waiting request fits."""

    load: Load
    window_tokens_min: int
    evidence: str
    now: float


@dataclass(frozen=True, slots=True)
class Spilled:
    """On a machine with a card, a load lies partly beside it."""

    load: Load
    window_tokens_min: int
    spilled_bytes: int
    evidence: str
    now: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A load is there, and its canary passed."""

    load: Load
    load_s: float


@dataclass(frozen=True, slots=True)
class Died:
    """The runner died under a chunk, and a fresh load's canary passed. `is_memory`: it said so."""

    load: Load
    window_tokens_min: int
    is_memory: bool
    evidence: str
    now: float


@dataclass(frozen=True, slots=True)
class Hung:
    """It was silent beyond its deadline."""

    load: Load
    evidence: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """A reading of the machine is above the mark at which less must be asked."""

    load: Load
    window_tokens_min: int
    evidence: str
    now: float


@dataclass(frozen=True, slots=True)
class Cohort:
    """As many answers in a row as the chunk's size. `is_full`: every slot had work all the time."""

    answers: int
    tokens: int
    duration_s: float
    is_full: bool
    now: float


@dataclass(frozen=True, slots=True)
class Judged:
    """All suspects of the deaths since the last time are cleared; these were guilty, or nobody was."""

    guilty: tuple[str, ...]


Happening = TooLarge | Spilled | Fitted | Died | Hung | Pressed | Cohort | Judged

Decided = tuple[Course, Change | None]
