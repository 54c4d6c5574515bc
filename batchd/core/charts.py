"""Charts: a comparison as pictures.

SUMMARY
    draw_cases    requests per second and evaluated tokens, by case, of the largest number of lines
    draw_cost     evaluated tokens and seconds against lines, on logarithmic axes, with the projection dashed

DIAGNOSTICS
    None: a value in, a text out.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import log10

from batchd.core.bars import NOT_TOLD
from batchd.core.comparison import Comparison, Row, Spread
from batchd.core.drawing import BAD, CHOSEN, FAINT, GOOD, INK, Panel, box, dot, line, opened, steps, text
from batchd.core.status import duration

_WIDTH, _HEIGHT = 1_000, 430
_PANELS = (Panel(90, 96, 370, 346), Panel(590, 96, 370, 346))

#: A colour for each case; batchd's own is the one that stands out.
COLOURS = {"naive": BAD, "keep-alive": "#8a6bbf", "prefix": CHOSEN, "bare": GOOD}


def draw_cases(comparison: Comparison, said: str) -> str:
    """Bars with the spread of the rounds. `said`: on what this was measured."""
    rows = [row for row in comparison.rows() if row.lines == comparison.sizes[-1]]
    title = f"The same {comparison.sizes[-1]:,} requests in each case"
    parts = [
        *opened(_WIDTH, _HEIGHT),
        text(28, 34, title, size=17, weight="600"),
        text(28, 56, said, fill=FAINT),
    ]
    parts += _bars(_PANELS[0], rows, "requests per second", lambda row: row.requests_per_s, "{:.2f}")
    parts += _bars(_PANELS[1], rows, "prompt tokens evaluated", lambda row: row.evaluated_tokens, "{:,.0f}")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(
    panel: Panel, rows: Sequence[Row], title: str, of: Callable[[Row], Spread | None], form: str
) -> Iterator[str]:
    rounds = max(row.rounds for row in rows)
    below = "one run each" if rounds == 1 else f"medians of {rounds} rounds; the stroke is lowest to highest"
    yield from panel.frame(title, below)
    told = [(number, row, value) for number, row in enumerate(rows) if (value := of(row)) is not None]
    if not told:
        yield text(panel.left + 12, panel.top + 24, NOT_TOLD, fill=FAINT)
        return
    ticks = steps(max(value.high for _, _, value in told))
    yield from panel.grid([(panel.height_of(tick, ticks[-1]), f"{tick:,g}") for tick in ticks])
    for number, row, value in told:
        middle, wide = panel.left + (number + 0.5) / len(rows) * panel.width, panel.width / len(rows) * 0.5
        top, low, high = (panel.height_of(at, ticks[-1]) for at in (value.median, value.low, value.high))
        label = f"{row.case}: {form.format(value.low)} to {form.format(value.high)}"
        yield box(middle - wide / 2, top, wide, panel.bottom - top, COLOURS[row.case], label)
        if value.high > value.low:
            yield line(middle, low, middle, high, INK, 1.5)
        yield text(middle, high - 7, form.format(value.median), anchor="middle")
        yield text(middle, panel.bottom + 18, row.case, anchor="middle", fill=FAINT)


def draw_cost(comparison: Comparison, said: str) -> str:
    """What the cases cost with more lines. What is dashed was not measured."""
    target = comparison.projections()[0].lines
    parts = [
        *opened(_WIDTH, _HEIGHT),
        text(28, 34, "Cost against lines", size=17, weight="600"),
        text(28, 56, f"{said}; dashed: a projection to {target:,} lines, not measured", fill=FAINT),
    ]
    tokens = {
        told.case: (_measured(comparison, told.case, _tokens), told.evaluated_tokens)
        for told in comparison.projections()
        if told.evaluated_tokens is not None
    }
    seconds = {
        told.case: (_measured(comparison, told.case, _seconds), told.duration_s)
        for told in comparison.projections()
    }
    parts += _curves(_PANELS[0], "prompt tokens evaluated", tokens, target, _TOKENS, _short)
    parts += _curves(_PANELS[1], "time", seconds, target, _TIMES, duration)
    parts += _legend(comparison.cases)
    return "\n".join([*parts, "</svg>"]) + "\n"


#: Marks of the axes: whole powers, and times as people tell them.
_TOKENS = tuple(10.0**power for power in range(13))
_TIMES = (0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 864_000.0, 8_640_000.0, 864_000_000.0)

#: What was measured, as lines and value, and the value of the projection.
_Curve = tuple[list[tuple[int, float]], float]


def _measured(comparison: Comparison, case: str, of: Callable[[Row], float]) -> list[tuple[int, float]]:
    return [(row.lines, of(row)) for row in comparison.rows() if row.case == case]


def _tokens(row: Row) -> float:
    return row.evaluated_tokens.median if row.evaluated_tokens is not None else 0.0


def _seconds(row: Row) -> float:
    return row.lines / max(row.requests_per_s.median, 1e-9)


def _curves(
    panel: Panel,
    title: str,
    curves: dict[str, _Curve],
    target: int,
    marks: Sequence[float],
    form: Callable[[float], str],
) -> Iterator[str]:
    yield from panel.frame(title, "lines")
    points = [point for measured, _ in curves.values() for point in measured]
    values = [y for _, y in points if y > 0] + [end for _, end in curves.values() if end > 0]
    if not values:
        yield text(panel.left + 12, panel.top + 24, NOT_TOLD, fill=FAINT)
        return
    left, right = log10(min(x for x, _ in points)) - 0.1, log10(target) + 0.1
    at = max((at for at, mark in enumerate(marks) if mark <= min(values)), default=0)
    end_at = next((number for number, mark in enumerate(marks) if mark >= max(values)), len(marks) - 1)
    shown = marks[min(at, end_at - 1) : end_at + 1]
    low, high = log10(shown[0]), log10(shown[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (log10(x) - left) / (right - left), (log10(max(y, shown[0])) - low) / (high - low)
        return panel.left + across * panel.width, panel.bottom - up * panel.height

    yield from panel.grid([(place(target, mark)[1], form(mark)) for mark in shown])
    sizes = sorted({x for x, _ in points})
    for x in (sizes[0], sizes[-1], target) if len(sizes) > 1 else (sizes[0], target):
        yield text(place(x, values[0])[0], panel.bottom + 18, f"{x:,}", anchor="middle", fill=FAINT)
    for case, (measured, end) in curves.items():
        placed = [place(*point) for point in measured]
        for one, two in pairwise(placed):
            yield line(*one, *two, COLOURS[case], 2.0)
        yield line(*placed[-1], *place(target, end), COLOURS[case], 1.5, "5 4")
        for (x, y), (across, up) in zip(measured, placed, strict=True):
            yield dot(across, up, COLOURS[case], f"{case}, {x:,} lines: {form(y)}", 4.0)
        across, up = place(target, end)
        yield dot(across, up, "#ffffff", f"{case}, projected: {form(end)}", 4.0, COLOURS[case])


def _legend(cases: Sequence[str]) -> Iterator[str]:
    for number, case in enumerate(cases):
        x = _PANELS[0].left + number * 130
        yield box(x, _HEIGHT - 24, 12, 12, COLOURS[case])
        yield text(x + 18, _HEIGHT - 14, case)


def _short(value: float) -> str:
    for unit in ("", " k", " M"):
        if value < 1_000:
            return f"{value:g}{unit}"
        value /= 1_000
    return f"{value:g} G"
