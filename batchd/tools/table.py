"""Table: every row of what must be fast, in the order of `core/bars`; some need a model.

SUMMARY
    rows_on_model    the three rows on a real model: one prefix group, many of them, and the bare loop
    in_order         all rows, with those that were not measured named too

DIAGNOSTICS
    Those of `bench`.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from batchd.core.bars import BARS, Measured
from batchd.core.comparison import Comparison, Ran, spread
from batchd.settings import Settings
from batchd.tools.bench import OnStep, Plan, Probed, compare

#: One group is long enough for every slot when it has so many lines for each.
LINES_PER_SLOT = 8


def rows_on_model(settings: Settings, probed: Probed, plan: Plan, on_step: OnStep) -> list[Measured]:
    """The same sizes as the plan; the bare loop runs beside batchd, round by round."""
    lines = max(max(plan.sizes), LINES_PER_SLOT * probed.slots)
    one = replace(plan, work=replace(plan.work, groups=1), sizes=(lines,), cases=("prefix", "bare"))
    many = replace(plan, sizes=(lines,), cases=("prefix",))
    alike = compare(settings, probed, one, lambda share, text: on_step(share / 2, f"one group: {text}"))
    mixed = compare(settings, probed, many, lambda share, text: on_step(0.5 + share / 2, f"groups: {text}"))
    told = [
        ("headline", [_prefixes_over(ran) for ran in _of_batchd(alike)]),
        ("groups", [_over_ideal(ran) for ran in _of_batchd(mixed)]),
    ]
    rows = [_row(name, values, lines) for name, values in told]
    return [*rows, _against_bare(alike, lines)]


def in_order(rows: Sequence[Measured]) -> list[Measured]:
    """As the table has them; a row that nobody measured stands there without a value."""
    return [row for name in BARS for row in ([row for row in rows if row.name == name] or [Measured(name)])]


def _of_batchd(comparison: Comparison) -> list[Ran]:
    return [ran for ran in comparison.runs if ran.case == "prefix"]


def _prefixes_over(ran: Ran) -> float | None:
    """How many beginnings more than the ideal were read. The canary of the load is in it."""
    if ran.evaluated_tokens is None:
        return None
    ideal = ran.ideal_tokens or 0
    shared = (ran.prompt_tokens - ideal) / max(ran.lines - 1, 1)
    return (ran.evaluated_tokens - ideal) / max(shared, 1.0)


def _over_ideal(ran: Ran) -> float | None:
    return None if ran.evaluated_tokens is None else ran.evaluated_tokens / (ran.ideal_tokens or 1)


def _against_bare(comparison: Comparison, lines: int) -> Measured:
    row = next(row for row in comparison.rows() if row.case == "prefix")
    ratio = row.against_bound
    assert ratio is not None, "both cases were run"
    return Measured("bare", ratio.median, ratio.low, ratio.high, lines)


def _row(name: str, values: Sequence[float | None], lines: int) -> Measured:
    """Without a value where the server did not tell it of each run."""
    told = [value for value in values if value is not None]
    if len(told) < len(values):
        return Measured(name, lines=lines)
    over = spread(told)
    return Measured(name, median(told), over.low, over.high, lines)
