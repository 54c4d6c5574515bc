"""Picture: a calibration as one SVG, drawn by ourselves.

SUMMARY
    Three panels: memory over tokens with its straight line; every load that was tried (slots x window) with
    what it took, and the safe windows; requests per second for each number of slots. The choice is filled.

DIAGNOSTICS
    None: a value in, a text out.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import log2

from batchd.core.calibration import Profile, Trial
from batchd.core.drawing import BAD, CHOSEN, FAINT, GOOD, Panel, box, dot, line, opened, steps, text
from batchd.core.space import in_units

_WIDTH, _HEIGHT = 1_140, 430

#: Left edges of the panels, and their common frame.
_LEFTS = (76, 456, 836)
_PANEL, _TOP, _BOTTOM = 280, 86, 366


def draw(profile: Profile) -> str:
    """The whole picture."""
    identity = profile.identity
    title = f"{identity.model} on {identity.engine} {identity.version} ({identity.mode})"
    cards = ", ".join(name for name, _, _ in identity.gpus) or f"no GPU, {identity.memory_gb} GB of memory"
    parts = [
        *opened(_WIDTH, _HEIGHT),
        text(28, 30, title, size=17, weight="600"),
        text(
            28, 50, f"{cards}; chosen: {profile.slots} slots x {profile.window_tokens:,} tokens", fill=FAINT
        ),
        *_memory(profile),
        *_map(profile),
        *_rates(profile),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _memory(profile: Profile) -> Iterator[str]:
    panel = Panel(_LEFTS[0], _TOP, _PANEL, _BOTTOM)
    left = panel.left
    known = [trial for trial in profile.trials if trial.fits and trial.size_bytes]
    yield from panel.frame("memory", "tokens of window, all slots together")
    if not known:
        yield text(left, _TOP + 40, "nobody tells it here", fill=FAINT)
        return
    ticks = steps(max(trial.size_bytes or 0 for trial in known))
    widest = max(trial.tokens for trial in known)

    def place(tokens: float, size_bytes: float) -> tuple[float, float]:
        share = min(max(size_bytes / ticks[-1], 0.0), 1.0)
        return left + tokens / widest * (_PANEL - 16), _BOTTOM - share * (_BOTTOM - _TOP)

    yield from panel.grid([(place(0, tick)[1], in_units(tick)) for tick in ticks])
    if profile.line is not None:
        begin, end = place(0, profile.line.at(0)), place(widest, profile.line.at(widest))
        yield line(*begin, *end, FAINT, 1.5, "5 4")
        token, residual = profile.line.token_bytes, profile.line.residual_bytes
        says = f"{in_units(token)} a token, residual at most {in_units(residual)}"
        yield text(left + 6, _TOP + 12, says, fill=FAINT)
    for trial in known:
        yield dot(*place(trial.tokens, trial.size_bytes or 0), GOOD, _label(trial), 4.0)
    for tokens in (0, widest / 2, widest):
        yield text(place(tokens, 0)[0], _BOTTOM + 18, f"{tokens:,.0f}", anchor="middle", fill=FAINT)


def _label(trial: Trial) -> str:
    size = "" if trial.size_bytes is None else f", {in_units(trial.size_bytes)}"
    ends = "loaded" if trial.fits else f"did not fit: {trial.why[:80]}"
    return f"{trial.slots} x {trial.window_tokens:,}{size}: {ends}"


def _map(profile: Profile) -> Iterator[str]:
    panel = Panel(_LEFTS[1], _TOP, _PANEL, _BOTTOM)
    left = panel.left
    yield from panel.frame("what was loaded: window of one slot", "slots")
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
    yield from panel.grid([(place(counts[0], mark)[1], f"{mark:,}") for mark in marks])
    for slots in counts:
        yield text(place(slots, min(windows))[0], _BOTTOM + 18, str(slots), anchor="middle", fill=FAINT)
    for trial in profile.trials:
        x, y = place(trial.slots, trial.window_tokens)
        yield dot(x, y, GOOD if trial.fits else "#ffffff", _label(trial), 5.0, GOOD if trial.fits else BAD)
    for one, two in pairwise(place(row.slots, row.safe_tokens) for row in rows):
        yield line(*one, *two, CHOSEN, 2.0)
    largest = {row.slots: row.window_tokens for row in profile.rows}
    for trial in profile.trials:
        if trial.fits and trial.size_bytes and trial.window_tokens == largest.get(trial.slots):
            x, y = place(trial.slots, trial.window_tokens)
            yield text(x + 9, y - 7, in_units(trial.size_bytes), size=10)
    if profile.slots in counts:
        x, y = place(profile.slots, profile.window_tokens)
        yield dot(x, y, CHOSEN, f"chosen: {profile.slots} x {profile.window_tokens:,}", 6.5, "#ffffff")
    yield text(
        left + _PANEL / 2,
        _BOTTOM + 56,
        "filled: loaded; hollow: did not fit; orange: safe",
        anchor="middle",
        fill=FAINT,
        size=11,
    )


def _rates(profile: Profile) -> Iterator[str]:
    panel = Panel(_LEFTS[2], _TOP, _PANEL, _BOTTOM)
    left = panel.left
    yield from panel.frame("requests per second", "slots")
    run = [row for row in profile.rows if row.requests_per_s]
    if not run:
        yield text(left, _TOP + 40, "not measured", fill=FAINT)
        return
    ticks = steps(max(row.requests_per_s for row in run))
    height = _BOTTOM - _TOP
    yield from panel.grid([(_BOTTOM - tick / ticks[-1] * height, f"{tick:g}") for tick in ticks])
    for number, row in enumerate(run):
        middle, wide = left + (number + 0.5) / len(run) * _PANEL, _PANEL / len(run) * 0.56
        tall = row.requests_per_s / ticks[-1] * height
        fill = CHOSEN if row.slots == profile.slots else GOOD
        yield box(middle - wide / 2, _BOTTOM - tall, wide, tall, fill, f"{row.tokens_per_s:,.0f} tokens/s")
        yield text(middle, _BOTTOM - tall - 6, f"{row.requests_per_s:.2f}", anchor="middle")
        yield text(middle, _BOTTOM + 18, str(row.slots), anchor="middle", fill=FAINT)
