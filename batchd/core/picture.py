"""Picture: a calibration as one SVG, drawn by ourselves.

SUMMARY
    Three panels: memory over tokens with its straight line; every load that was tried (slots x window) with
    what it took, and the safe windows; requests per second for each number of slots. The choice is filled.

DIAGNOSTICS
    None: a value in, a text out.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import log2

from batchd.core.calibration import Profile, Trial
from batchd.core.space import in_units
from batchd.core.text import printable

_WIDTH, _HEIGHT = 1_140, 430

#: Left edges of the panels, and their common frame.
_LEFTS = (76, 456, 836)
_PANEL, _TOP, _BOTTOM = 280, 86, 366

_INK, _FAINT, _GRID = "#1f2430", "#667085", "#e3e6ec"
_GOOD, _BAD, _CHOSEN = "#2f6fb2", "#c2483d", "#e08a00"


def draw(profile: Profile) -> str:
    """The whole picture."""
    identity = profile.identity
    title = f"{identity.model} on {identity.engine} {identity.version} ({identity.mode})"
    cards = ", ".join(name for name, _, _ in identity.gpus) or f"no GPU, {identity.memory_gb} GB of memory"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(28, 30, title, size=17, weight="600"),
        _text(
            28, 50, f"{cards}; chosen: {profile.slots} slots x {profile.window_tokens:,} tokens", fill=_FAINT
        ),
        *_memory(profile),
        *_map(profile),
        *_rates(profile),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = _INK,
    size: int = 12,
    weight: str = "400",
) -> str:
    shown = escape(printable(text))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{shown}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _dot(x: float, y: float, fill: str, label: str, radius: float = 5.0, stroke: str = "none") -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{stroke}" stroke-width="2">'
        f"<title>{escape(printable(label))}</title></circle>"
    )


def _frame(left: float, title: str, below: str) -> Iterator[str]:
    yield _text(left, _TOP - 12, title, weight="600")
    yield _line(left, _BOTTOM, left + _PANEL, _BOTTOM, _FAINT)
    yield _text(left + _PANEL / 2, _BOTTOM + 38, below, anchor="middle", fill=_FAINT)


def _grid(left: float, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    for y, label in marks:
        yield _line(left, y, left + _PANEL, y, _GRID)
        yield _text(left - 8, y + 4, label, anchor="end", fill=_FAINT)


def _steps(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to a little above `top`."""
    raw = max(top, 1e-9) / count
    power = 10 ** len(str(int(raw))) / 10 if raw >= 1 else 10 ** -len(f"{1 / raw:.0f}")
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20, 50, 100) if power * factor >= raw)
    return [step * number for number in range(count + 1)]


def _memory(profile: Profile) -> Iterator[str]:
    left = _LEFTS[0]
    known = [trial for trial in profile.trials if trial.fits and trial.size_bytes]
    yield from _frame(left, "memory", "tokens of window, all slots together")
    if not known:
        yield _text(left, _TOP + 40, "nobody tells it here", fill=_FAINT)
        return
    ticks = _steps(max(trial.size_bytes or 0 for trial in known))
    widest = max(trial.tokens for trial in known)

    def place(tokens: float, size_bytes: float) -> tuple[float, float]:
        share = min(max(size_bytes / ticks[-1], 0.0), 1.0)
        return left + tokens / widest * (_PANEL - 16), _BOTTOM - share * (_BOTTOM - _TOP)

    yield from _grid(left, [(place(0, tick)[1], in_units(tick)) for tick in ticks])
    if profile.line is not None:
        begin, end = place(0, profile.line.at(0)), place(widest, profile.line.at(widest))
        yield _line(*begin, *end, _FAINT, 1.5, "5 4")
        token, residual = profile.line.token_bytes, profile.line.residual_bytes
        says = f"{in_units(token)} a token, residual at most {in_units(residual)}"
        yield _text(left + 6, _TOP + 12, says, fill=_FAINT)
    for trial in known:
        yield _dot(*place(trial.tokens, trial.size_bytes or 0), _GOOD, _label(trial), 4.0)
    for tokens in (0, widest / 2, widest):
        yield _text(place(tokens, 0)[0], _BOTTOM + 18, f"{tokens:,.0f}", anchor="middle", fill=_FAINT)


def _label(trial: Trial) -> str:
    size = "" if trial.size_bytes is None else f", {in_units(trial.size_bytes)}"
    ends = "loaded" if trial.fits else f"did not fit: {trial.why[:80]}"
    return f"{trial.slots} x {trial.window_tokens:,}{size}: {ends}"


def _map(profile: Profile) -> Iterator[str]:
    left = _LEFTS[1]
    yield from _frame(left, "what was loaded: window of one slot", "slots")
    rows = [row for row in profile.rows if row.safe_tokens]
    counts = sorted({trial.slots for trial in profile.trials} | {row.slots for row in rows})
    windows = [*(trial.window_tokens for trial in profile.trials), *(row.safe_tokens for row in rows)]
    if not windows:
        return
    low, high = log2(min(windows)) - 0.3, log2(max(windows)) + 0.4

    def place(slots: int, window_tokens: float) -> tuple[float, float]:
        x = left + (counts.index(slots) + 0.5) / len(counts) * _PANEL
        return x, _BOTTOM - (log2(window_tokens) - low) / (high - low) * (_BOTTOM - _TOP)

    marks = [2**power for power in range(8, 25) if low <= power <= high]
    yield from _grid(left, [(place(counts[0], mark)[1], f"{mark:,}") for mark in marks])
    for slots in counts:
        yield _text(place(slots, min(windows))[0], _BOTTOM + 18, str(slots), anchor="middle", fill=_FAINT)
    for trial in profile.trials:
        x, y = place(trial.slots, trial.window_tokens)
        yield _dot(
            x, y, _GOOD if trial.fits else "#ffffff", _label(trial), 5.0, _GOOD if trial.fits else _BAD
        )
    for one, two in pairwise(place(row.slots, row.safe_tokens) for row in rows):
        yield _line(*one, *two, _CHOSEN, 2.0)
    largest = {row.slots: row.window_tokens for row in profile.rows}
    for trial in profile.trials:
        if trial.fits and trial.size_bytes and trial.window_tokens == largest.get(trial.slots):
            x, y = place(trial.slots, trial.window_tokens)
            yield _text(x, y - 10, in_units(trial.size_bytes), anchor="middle", size=10)
    if profile.slots in counts:
        x, y = place(profile.slots, profile.window_tokens)
        yield _dot(x, y, _CHOSEN, f"chosen: {profile.slots} x {profile.window_tokens:,}", 6.5, "#ffffff")
    yield _text(
        left + _PANEL / 2,
        _BOTTOM + 56,
        "filled: loaded; hollow: did not fit; orange: safe",
        anchor="middle",
        fill=_FAINT,
        size=11,
    )


def _rates(profile: Profile) -> Iterator[str]:
    left = _LEFTS[2]
    yield from _frame(left, "requests per second", "slots")
    run = [row for row in profile.rows if row.requests_per_s]
    if not run:
        yield _text(left, _TOP + 40, "not measured", fill=_FAINT)
        return
    ticks = _steps(max(row.requests_per_s for row in run))
    height = _BOTTOM - _TOP
    yield from _grid(left, [(_BOTTOM - tick / ticks[-1] * height, f"{tick:g}") for tick in ticks])
    for number, row in enumerate(run):
        middle, wide = left + (number + 0.5) / len(run) * _PANEL, _PANEL / len(run) * 0.56
        tall = row.requests_per_s / ticks[-1] * height
        fill = _CHOSEN if row.slots == profile.slots else _GOOD
        yield (
            f'<rect x="{middle - wide / 2:.1f}" y="{_BOTTOM - tall:.1f}" width="{wide:.1f}" '
            f'height="{tall:.1f}" fill="{fill}"><title>{row.tokens_per_s:,.0f} tokens/s</title></rect>'
        )
        yield _text(middle, _BOTTOM - tall - 6, f"{row.requests_per_s:.2f}", anchor="middle")
        yield _text(middle, _BOTTOM + 18, str(row.slots), anchor="middle", fill=_FAINT)
