"""Comparison: the same work done in several ways, run in turn, and what can be said of it.

SUMMARY
    Ran            one run of one case
    Comparison     all runs; `rows` has medians, and ratios taken round by round
    projected      what another number of lines would cost, along the line through what was measured

    A ratio is taken inside of a round, between runs that lie side by side in time, and then the median: so a
    machine that gets slower meanwhile changes it little. Its spread is the lowest and the highest round.

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

#: The cases, in the order in which they are shown, each with what it stands for.
CASES = {
    "naive": "batchd with the strategy naive: the order of the file, every slot, no grouping",
    "keep-alive": "a simple client: the model stays loaded, one request after the other, in one slot",
    "prefix": "batchd as it is by default",
    "bare": "a loop that keeps every slot busy, with the lines sorted by their beginnings; nothing is kept",
}

#: What the others are measured against, where it is among the cases.
BASE, BOUND = "naive", "bare"

#: The headline: lines of a batch that runs for days.
PROJECTED_LINES = 170_000


@dataclass(frozen=True, slots=True)
class Ran:
    """One run. `duration_s`: from the first request to the last answer, without loads of the model."""

    case: str
    lines: int
    round: int
    duration_s: float
    answered: int
    prompt_tokens: int
    evaluated_tokens: int | None  # None: the server does not tell
    ideal_tokens: int | None  # told by batchd's own results
    source: str
    client_bytes: int | None
    server_bytes: int | None

    @property
    def requests_per_s(self) -> float:
        return self.answered / self.duration_s if self.duration_s else 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some rounds: median, lowest, highest."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """At least one value."""
    return Spread(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One case with one number of lines, over all rounds. A ratio is None where its base was not run, and
    the evaluated tokens where the server did not tell them of each round."""

    case: str
    lines: int
    rounds: int
    requests_per_s: Spread
    evaluated_tokens: Spread | None
    prompt_tokens: int
    ideal_tokens: int | None
    against_base: Spread | None
    against_bound: Spread | None
    client_bytes: int | None
    server_bytes: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Projection:
    """What a case would cost with so many lines. Nothing of it was measured; `method` says how it came."""

    case: str
    lines: int
    evaluated_tokens: float | None
    duration_s: float
    method: str


class Comparison:
    """All runs of one bench."""

    def __init__(self, runs: Sequence[Ran]) -> None:
        self.runs = tuple(runs)

    def __repr__(self) -> str:
        return f"Comparison({len(self.runs)} runs)"

    @property
    def cases(self) -> list[str]:
        """Those that were run, in the order of CASES."""
        return [case for case in CASES if any(ran.case == case for ran in self.runs)]

    @property
    def sizes(self) -> list[int]:
        """Numbers of lines, the smallest first."""
        return sorted({ran.lines for ran in self.runs})

    def rows(self) -> list[Row]:
        """By lines, then by case."""
        return [
            self._row(case, lines) for lines in self.sizes for case in self.cases if self._of(case, lines)
        ]

    def projections(self, lines: int = PROJECTED_LINES) -> list[Projection]:
        """One for each case."""
        return [self._projected(case, lines) for case in self.cases]

    def as_dict(self) -> dict[str, object]:
        """For programs: each run, what they say together, and the projection, named so."""
        return {
            "runs": [{**asdict(ran), "requests_per_s": ran.requests_per_s} for ran in self.runs],
            "rows": [asdict(row) for row in self.rows()],
            "projection": [asdict(projection) for projection in self.projections()],
        }

    def _of(self, case: str, lines: int) -> list[Ran]:
        return [ran for ran in self.runs if (ran.case, ran.lines) == (case, lines)]

    def _row(self, case: str, lines: int) -> Row:
        runs = self._of(case, lines)
        return Row(
            case=case,
            lines=lines,
            rounds=len(runs),
            requests_per_s=spread([ran.requests_per_s for ran in runs]),
            evaluated_tokens=spread(tokens) if (tokens := _evaluated(runs)) else None,
            prompt_tokens=round(median(ran.prompt_tokens for ran in runs)),
            ideal_tokens=next((ran.ideal_tokens for ran in runs if ran.ideal_tokens is not None), None),
            against_base=self._ratio(runs, BASE),
            against_bound=self._ratio(runs, BOUND),
            client_bytes=max((ran.client_bytes for ran in runs if ran.client_bytes), default=None),
            server_bytes=max((ran.server_bytes for ran in runs if ran.server_bytes), default=None),
            source=runs[0].source,
        )

    def _ratio(self, runs: Sequence[Ran], to: str) -> Spread | None:
        others = {other.round: other.requests_per_s for other in self._of(to, runs[0].lines)}
        ratios = [ran.requests_per_s / others[ran.round] for ran in runs if others.get(ran.round)]
        return spread(ratios) if ratios else None

    def _projected(self, case: str, lines: int) -> Projection:
        sizes = [size for size in self.sizes if self._of(case, size)]
        told = [(size, _evaluated(self._of(case, size))) for size in sizes]
        tokens = [(size, median(values)) for size, values in told if values]
        seconds = [(size, median(ran.duration_s for ran in self._of(case, size))) for size in sizes]
        listed = " and ".join(f"{size:,}" for size in sizes)
        method = (
            f"straight line through {listed} lines" if len(sizes) > 1 else f"in proportion to {listed} lines"
        )
        read = projected(tokens, lines) if len(tokens) == len(sizes) else None
        return Projection(case, lines, read, projected(seconds, lines), method)


def _evaluated(runs: Sequence[Ran]) -> list[int]:
    """Of each of them; none where the server did not tell them all."""
    told = [ran.evaluated_tokens for ran in runs if ran.evaluated_tokens is not None]
    return told if len(told) == len(runs) else []


def projected(points: Sequence[tuple[int, float]], at: int) -> float:
    """Along the straight line of least squares; in proportion where there is one point, or no growth.

    No growth between few lines is noise: nothing costs less for each line than nothing.
    """
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    width = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / width if width else 0.0
    if slope <= 0:
        return mean_y / mean_x * at
    return mean_y + slope * (at - mean_x)
