"""Readings: what was measured of the machine, which marks it passes, and what follows.

SUMMARY
    A `Reading` is one look at cards, memory and pressure; whatever could not be measured is None or absent.
    `after_reading` compares it with the marks and returns what happened since the last one:

        Warned     a mark was passed: said once
        Held       nothing new is sent to the model until it eases
        Eased      it is sent again
        Strained   the model should be made smaller: the governor's to decide
        Woke       the machine slept in between: what the model holds must be proven again

    A level is left only well below the mark that it was entered at, so that nothing flutters. No hold is for
    ever: a card that our own model fills is full for as long as the model is there, and it has lived with
    that. After `HOLD_S_MAX` the governor is told, and the work goes on until the reading has been low again.

DIAGNOSTICS
    None: values in, decisions out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from batchd.core.space import in_units

#: The longest hold in a row: longer than a neighbour's short spike, shorter than a person's patience.
HOLD_S_MAX = 60.0

#: While the highest mark stays passed, the governor is told again after this: a reload takes a minute or two.
STRAIN_AGAIN_S = 180.0

#: A sleep of the machine shorter than this is the two clocks being read one after the other.
WAKE_S_MIN = 5.0


class Level(IntEnum):
    """How bad a reading is."""

    CALM = 0
    WARN = 1
    HOLD = 2
    SHRINK = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """Shares from which on a level holds; it is left `ease` below."""

    warn: float
    hold: float
    shrink: float
    ease: float

    def level(self, share: float, before: Level) -> Level:
        """The level of this share, after that one."""
        marks = {Level.SHRINK: self.shrink, Level.HOLD: self.hold, Level.WARN: self.warn}
        for level, mark in marks.items():
            if share >= mark - (self.ease if level <= before else 0.0):
                return level
        return Level.CALM


#: A runner allocates all that it needs at its load, and may well fill a card; it is the others that grow.
CARD_MARK = Mark(0.95, 0.985, 0.995, ease=0.02)

#: Of what the kernel could still give: at the end of it, it kills the largest process, which is the model.
MEMORY_MARK = Mark(0.90, 0.95, 0.98, ease=0.02)

#: Share of the last ten seconds in which somebody waited for memory. systemd-oomd kills at 0.6.
STALL_MARK = Mark(0.10, 0.30, 0.50, ease=0.05)


@dataclass(frozen=True, slots=True)
class Card:
    """One graphics card. MiB are of 2^20 bytes, as the driver's own tools print them; `ours` is the model's.

    `energy_j` counts from the driver's start.
    """

    name: str
    driver: str
    total_mib: int | None = None
    used_mib: int | None = None
    ours_mib: int | None = None
    power_w: float | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `group_*` are of our control group, the tightest above us; `stalled_share` is 0 to 1.

    `server_bytes`: resident memory of the model server and its runners. `suspended_s`: how long the machine
    has slept since it was started. `gpu_trouble`: why a driver that is there did not answer.
    """

    cards: tuple[Card, ...] = ()
    gpu_trouble: str = ""
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    group_limit_bytes: int | None = None
    group_used_bytes: int | None = None
    stalled_share: float | None = None
    server_bytes: int | None = None
    suspended_s: float | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a reading, as a share of its mark's whole, and in words."""

    name: str
    share: float
    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A mark was passed upwards."""

    text: str


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing new is sent from now on."""

    text: str


@dataclass(frozen=True, slots=True)
class Eased:
    """The hold is over."""

    text: str


@dataclass(frozen=True, slots=True)
class Strained:
    """Memory is short enough that the model should be loaded smaller."""

    text: str


@dataclass(frozen=True, slots=True)
class Woke:
    """The machine slept for so long."""

    slept_s: float


Happened = Warned | Held | Eased | Strained | Woke


@dataclass(frozen=True, slots=True)
class Tension:
    """What is remembered between two readings. Moments are of the monotonic clock."""

    levels: Mapping[str, Level] = field(default_factory=dict)
    held_since: float | None = None
    is_tolerated: bool = False  # the hold reached its limit, and the reading has not been low since
    strained_at: float | None = None
    suspended_s: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether nothing new may be sent."""
        return self.held_since is not None


def after_reading(tension: Tension, reading: Reading, now: float) -> tuple[Tension, tuple[Happened, ...]]:
    """What this reading changes."""
    measures = measures_of(reading)
    levels = {
        measure.name: measure.mark.level(measure.share, tension.levels.get(measure.name, Level.CALM))
        for measure in measures
    }
    happened: list[Happened] = [
        Warned(measure.text)
        for measure in measures
        if levels[measure.name] > Level.CALM and not tension.levels.get(measure.name)
    ]
    worst = max(levels.values(), default=Level.CALM)
    text = "; ".join(measure.text for measure in measures if levels[measure.name] is worst)
    woke = _woke(tension, reading)
    suspended_s = tension.suspended_s if reading.suspended_s is None else reading.suspended_s
    tension = replace(tension, levels=levels, suspended_s=suspended_s)
    if worst < Level.HOLD:
        happened += [Eased(text)] if tension.is_held else []
        tension = replace(tension, held_since=None, is_tolerated=False, strained_at=None)
        return tension, (*happened, *woke)
    if not tension.is_held and not tension.is_tolerated:
        tension = replace(tension, held_since=now)
        happened.append(Held(text))
    tension, more = _pressed(tension, worst, text, now)
    return tension, (*happened, *more, *woke)


def _pressed(tension: Tension, worst: Level, text: str, now: float) -> tuple[Tension, list[Happened]]:
    """At hold or above: when the governor is told, and when the work goes on all the same."""
    happened: list[Happened] = []
    is_new = tension.strained_at is None or now - tension.strained_at >= STRAIN_AGAIN_S
    is_over = tension.held_since is not None and now - tension.held_since >= HOLD_S_MAX
    if (worst is Level.SHRINK or is_over) and is_new:
        happened.append(Strained(text))
        tension = replace(tension, strained_at=now)
    if is_over:
        happened.append(Eased(f"{text}, for {HOLD_S_MAX:.0f} s now: the work goes on"))
        tension = replace(tension, held_since=None, is_tolerated=True)
    return tension, happened


def _woke(tension: Tension, reading: Reading) -> tuple[Woke, ...]:
    if tension.suspended_s is None or reading.suspended_s is None:
        return ()
    slept_s = reading.suspended_s - tension.suspended_s
    return (Woke(slept_s),) if slept_s >= WAKE_S_MIN else ()


def measures_of(reading: Reading) -> tuple[Measure, ...]:
    """What of a reading has a mark."""
    found = [
        Measure(
            f"card {number}",
            card.used_mib / card.total_mib,
            CARD_MARK,
            f"{card.used_mib:,} of {card.total_mib:,} MiB of GPU {number} are used",
        )
        for number, card in enumerate(reading.cards)
        if card.total_mib and card.used_mib is not None
    ]
    total, free = reading.memory_total_bytes, reading.memory_free_bytes
    if total and free is not None:
        text = f"{in_units(free)} of {in_units(total)} of memory are free"
        found.append(Measure("memory", 1 - free / total, MEMORY_MARK, text))
    limit, used = reading.group_limit_bytes, reading.group_used_bytes
    if limit and used is not None:
        text = f"{in_units(used)} of the {in_units(limit)} that our control group may have are used"
        found.append(Measure("group", used / limit, MEMORY_MARK, text))
    if reading.stalled_share is not None:
        text = f"programs wait for memory {reading.stalled_share:.0%} of the time"
        found.append(Measure("stall", reading.stalled_share, STALL_MARK, text))
    return tuple(found)
