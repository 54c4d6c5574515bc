"""Calibration: how much memory a token of window costs, what fits, what is fastest, and what to choose.

SUMMARY
    fit_line     memory over tokens (slots x window) as a straight line, with its largest residual
    Search       the binary search for the largest window of one number of slots
    Profile      all that was measured on one machine for one model, and the choice
    advised      the load that a profile recommends where another was wished

    Every figure in a profile was measured. A window is safe with a margin below the largest one that was
    loaded, where memory was the limit.

DIAGNOSTICS
    None: values in, decisions out. A profile that is not one is a ValueError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from batchd.core.json import dumps, loads
from batchd.core.model import Load
from batchd.core.text import printable

#: Of the layout of the file. A reader refuses a higher one.
PROFILE_VERSION = 1

#: Servers round windows up to this.
STEP_TOKENS = 256

#: Below this window no batch is worth the load.
WINDOW_TOKENS_MIN = 512

#: Of the largest window that was loaded. What is measured on a quiet machine must hold on a busy one too.
SAFE_SHARE = 0.9

#: The search ends when what fits and what does not are nearer than this: below the margin it changes nothing.
NEAR_SHARE = 0.08

#: The first step beyond a window that was expected to be the largest.
_WIDER = 1.5

#: Numbers of slots whose rates differ by less are equally fast; the fewest then leave the largest windows.
EQUAL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """One load that was tried. `size_bytes`: what the model server held then; None where nobody tells."""

    slots: int
    window_tokens: int
    fits: bool
    size_bytes: int | None = None
    why: str = ""

    @property
    def tokens(self) -> int:
        """Cells of the cache."""
        return self.slots * self.window_tokens


@dataclass(frozen=True, slots=True)
class Line:
    """Memory = base + tokens x token. `residual_bytes`: the largest distance of a measurement from it."""

    base_bytes: float
    token_bytes: float
    residual_bytes: float

    def at(self, tokens: int) -> float:
        """What so many tokens of window take."""
        return self.base_bytes + tokens * self.token_bytes


def fit_line(trials: Sequence[Trial]) -> Line | None:
    """Least squares over all loads whose memory is known; None for fewer than two different ones."""
    points = [(trial.tokens, trial.size_bytes) for trial in trials if trial.fits and trial.size_bytes]
    if len({tokens for tokens, _ in points}) < 2:
        return None
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    base = mean_y - slope * mean_x
    return Line(base, slope, max(abs(y - base - slope * x) for x, y in points))


def rounded_down(window_tokens: float) -> int:
    """To a window that servers give as it is."""
    return int(window_tokens // STEP_TOKENS) * STEP_TOKENS


@dataclass(frozen=True, slots=True)
class Search:
    """For one number of slots. `fits`: the largest window known to fit (0: none); `fails`: the smallest that
    does not (None: none). `likely` is tried first, and `cap` is never exceeded."""

    slots: int
    cap: int
    likely: int
    fits: int = 0
    fails: int | None = None

    @classmethod
    def begin(cls, slots: int, cap: int, likely: int) -> "Search":
        """Windows between the smallest and `cap`."""
        top = max(rounded_down(cap), WINDOW_TOKENS_MIN)
        return cls(slots, top, min(max(rounded_down(likely), WINDOW_TOKENS_MIN), top))

    def next_window(self) -> int | None:
        """What to try; None when the largest is known well enough."""
        if self.fails is None:
            if not self.fits:
                return self.likely
            # What was likely is nearly right as a rule: the first step beyond it is a short one.
            wider = self.fits * (_WIDER if self.fits == self.likely else 2)
            return min(rounded_down(wider), self.cap) if self.fits < self.cap else None
        if not self.fits:
            return (
                max(rounded_down(self.fails / 2), WINDOW_TOKENS_MIN)
                if self.fails > WINDOW_TOKENS_MIN
                else None
            )
        middle = rounded_down((self.fits + self.fails) / 2)
        is_near = self.fails - self.fits <= max(STEP_TOKENS, self.fits * NEAR_SHARE)
        return None if is_near or middle <= self.fits else middle

    def after(self, window_tokens: int, fits: bool) -> "Search":
        """With one more trial known."""
        if fits:
            return replace(self, fits=max(self.fits, window_tokens))
        return replace(self, fails=window_tokens if self.fails is None else min(self.fails, window_tokens))

    @property
    def safe_tokens(self) -> int:
        """The window that may be asked for; 0: not even the smallest fits."""
        if self.fits >= self.cap:
            return self.fits  # it was not memory that ended the search
        return max(rounded_down(self.fits * SAFE_SHARE), WINDOW_TOKENS_MIN) if self.fits else 0


@dataclass(frozen=True, slots=True)
class Row:
    """One number of slots: the largest window that loaded, the safe one, and how fast it was (0: not run)."""

    slots: int
    window_tokens: int
    safe_tokens: int
    requests_per_s: float = 0.0
    tokens_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What a profile is true for. `gpus`: name, driver, MiB of each; without one, the machine's memory."""

    model: str
    digest: str
    engine: str
    version: str
    mode: str
    gpus: tuple[tuple[str, str, int], ...] = ()
    memory_gb: int = 0

    def changes(self, now: "Identity") -> list[str]:
        """What is another by now, in words; of the same model name."""
        found = []
        if self.digest != now.digest:
            found.append("the model was changed (another digest)")
        if (self.engine, self.version, self.mode) != (now.engine, now.version, now.mode):
            was = f"{self.engine} {self.version} ({self.mode})"
            found.append(f"the engine was {was} and is {now.engine} {now.version} ({now.mode})")
        if self.gpus != now.gpus:
            found.append(f"the GPU was {_cards(self.gpus)} and is {_cards(now.gpus)}")
        elif self.memory_gb != now.memory_gb:
            found.append(f"the machine had {self.memory_gb} GB and has {now.memory_gb} GB")
        return found


def _cards(gpus: tuple[tuple[str, str, int], ...]) -> str:
    return ", ".join(f"{name} with driver {driver}" for name, driver, _ in gpus) or "none"


@dataclass(frozen=True, slots=True)
class Proof:
    """The sustained load under the choice."""

    duration_s: float
    requests: int
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Profile:
    """All of one calibration. `source` says who told the memory: the driver, the server, or the kernel."""

    identity: Identity
    made_at: float
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]
    line: Line | None
    source: str
    slots: int
    window_tokens: int
    proof: Proof | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)
    read_tokens_per_s: float = 0.0  # in one slot, while the others read too; 0: nobody told

    def to_json(self) -> bytes:
        """As it lies in its file."""
        return dumps({"version": PROFILE_VERSION, **asdict(self)})


def from_json(raw: bytes) -> Profile:
    """ValueError for anything else than a profile of a version that is known."""
    value: Any = loads(raw)
    try:
        if value.pop("version") > PROFILE_VERSION:
            raise ValueError("a newer batchd wrote it")
        identity = value.pop("identity")
        gpus = tuple((str(name), str(driver), int(size)) for name, driver, size in identity.pop("gpus"))
        line, proof = value.pop("line"), value.pop("proof")
        return Profile(
            identity=Identity(**identity, gpus=gpus),
            rows=tuple(Row(**row) for row in value.pop("rows")),
            trials=tuple(Trial(**trial) for trial in value.pop("trials")),
            line=None if line is None else Line(**line),
            proof=None if proof is None else Proof(**proof),
            notes=tuple(map(str, value.pop("notes"))),
            **value,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is no profile: {type(error).__name__}: {printable(str(error))}") from error


def best_slots(
    rows: Sequence[Row], window_tokens: int = WINDOW_TOKENS_MIN, slots_max: int | None = None
) -> int:
    """The fewest slots that are as fast as any, of those whose safe window is large enough; 0: none is."""
    wide = [
        row
        for row in rows
        if row.safe_tokens >= window_tokens and (slots_max is None or row.slots <= slots_max)
    ]
    if not wide:
        return 0
    fastest = max(row.requests_per_s for row in wide)
    return min(row.slots for row in wide if row.requests_per_s >= fastest * (1 - EQUAL_SHARE))


def is_flat(rates: Sequence[float]) -> bool:
    """Whether the last two brought nothing over the best before them."""
    return len(rates) > 2 and max(rates[-2:]) < max(rates[:-2]) * (1 + EQUAL_SHARE)


def advised(profile: Profile, load: Load) -> Load:
    """The same load with the number of slots that is best for its window, and no more than it has.

    Where no number of slots was measured to hold that window, one slot is the least to try.
    """
    return replace(load, slots=max(1, best_slots(profile.rows, load.window_tokens, load.slots)))


def slots_to_try(slots_max: int) -> tuple[int, ...]:
    """1, 2, 4, 8 and so on; the last one is the bound itself."""
    numbers = [1]
    while numbers[-1] * 2 <= slots_max:
        numbers.append(numbers[-1] * 2)
    return tuple(numbers) if numbers[-1] == slots_max else (*numbers, slots_max)


def file_stem(identity: Identity, key: str) -> str:
    """Of a profile's file: the model's name for people, and the key for us."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in identity.model)
    return f"{plain[:60].strip('-') or 'model'}.{key}"


def key_text(identity: Identity) -> bytes:
    """What the key is the hash of."""
    return dumps(asdict(replace(identity, model="")))


def as_rows(profile: Profile) -> list[Mapping[str, object]]:
    """The table for people and programs."""
    return [{**asdict(row), "is_chosen": row.slots == profile.slots} for row in profile.rows]
