"""Bars: what must be fast, and whether it is.

SUMMARY
    BARS        the table: each row with its limit, its unit, and the size for which the limit stands
    Measured    one row filled: value, range, size; `verdict` and `words` say what it means

    A row that was measured on less than its size is not passed, only not failed.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HEADLINE_LINES = 170_000

#: In the place of a number that no answer of the server says, and no log that may be read.
NOT_TOLD = "not told by this server"


class Verdict(StrEnum):
    """What a row comes to."""

    PASS = "pass"
    SHORT = "falls short"
    SMALL = "too small to say"
    MODELLESS = "needs --engine"
    UNTOLD = NOT_TOLD
    ABSENT = "not measured"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row. `is_floor`: at least the limit, else at most. `lines`: the size that the limit is for."""

    what: str
    limit: float
    unit: str
    is_floor: bool = True
    lines: int = 0
    on: str = "instant server"


BARS = {
    "headline": Bar("one group: evaluated tokens over the ideal, in prefixes", 2.0, "", False, on="model"),
    "groups": Bar("many groups, shuffled: evaluated tokens over the ideal", 1.15, "×", False, on="model"),
    "bare": Bar("requests/s of a bare loop on the same model server", 0.98, "×", on="model"),
    "delayed": Bar("requests/s of a bare loop; 20 ms jittered, 16 in flight", 0.9, "×"),
    "slow_disk": Bar("the same with 8 ms more for each commit", 0.8, "×"),
    "control": Bar("control: the bare loop against itself, off by", 0.05, "", False),
    "at_once": Bar("durable requests/s, a server that answers at once", 1_000.0, "/s"),
    "intake": Bar("intake of long lines", 200.0, "MB/s", on="no server"),
    "short_lines": Bar("intake of short lines", 50_000.0, "lines/s", on="no server"),
    "memory": Bar("anonymous memory", 150.0, "MB", False, HEADLINE_LINES),
    "memory_unshared": Bar(
        "anonymous memory, no two prompts begin alike", 150.0, "MB", False, HEADLINE_LINES
    ),
    "memory_million": Bar("anonymous memory, a million lines", 300.0, "MB", False, 1_000_000),
    "recovery": Bar("kill -9 to the first new request", 1.0, "s", False, HEADLINE_LINES),
    "publish": Bar("assembling and publishing the results", 6.0, "s", False, HEADLINE_LINES),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One row. `value` None: it was not measured, or, where there are `lines` on which it was, the server
    did not tell what it is made from."""

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    lines: int = 0

    @property
    def bar(self) -> Bar:
        return BARS[self.name]

    @property
    def verdict(self) -> Verdict:
        if self.value is None and self.lines:
            return Verdict.UNTOLD
        if self.value is None:
            return Verdict.MODELLESS if self.bar.on == "model" else Verdict.ABSENT
        if (self.value < self.bar.limit) if self.bar.is_floor else (self.value > self.bar.limit):
            return Verdict.SHORT
        return Verdict.SMALL if self.lines < self.bar.lines else Verdict.PASS

    def words(self) -> str:
        """The verdict, and by how much it falls short."""
        if self.verdict is not Verdict.SHORT or self.value is None:
            return self.verdict.value
        side = "below" if self.bar.is_floor else "above"
        return f"{self.verdict.value}: {abs(self.value / self.bar.limit - 1):.0%} {side}"

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "what": self.bar.what,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "limit": self.bar.limit,
            "unit": self.bar.unit,
            "is_floor": self.bar.is_floor,
            "lines": self.lines or None,
            "measured_on": self.bar.on,
            "verdict": self.verdict.value,
        }


HEADS = ("what", "on", "lines", "measured", "bar", "verdict")


def notes(rows: Sequence[Measured]) -> list[str]:
    """What must be known to read the table."""
    control = next((row for row in rows if row.name == "control"), None)
    if control is None or control.verdict is not Verdict.SHORT:
        return []
    return [
        f"Equal code differed by {control.value or 0:.0%} in this run: the machine had other work, or "
        "too little was measured. Verdicts near their bar mean nothing."
    ]


def cells(measured: Measured) -> tuple[str, ...]:
    """One row, in the order of HEADS."""
    bar = measured.bar
    shown = "-" if measured.value is None else _number(measured.value, bar.unit)
    if measured.low is not None and measured.high is not None and measured.low < measured.high:
        shown += f" ({_number(measured.low, '')}-{_number(measured.high, '')})"
    limit = f"{'at least' if bar.is_floor else 'at most'} {_number(bar.limit, bar.unit)}"
    if bar.lines:
        limit += f" at {bar.lines:,} lines"
    return (
        bar.what,
        bar.on,
        f"{measured.lines:,}" if measured.lines else "-",
        shown,
        limit,
        measured.words(),
    )


def _number(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return (
        f"{shown} {unit}".strip()
        if unit not in ("/s", "×")
        else f"{shown}{unit}"
        if unit == "/s"
        else f"{shown} ×"
    )
