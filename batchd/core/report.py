"""Report: one batch for people, as `report.html`, made from what `batch.json` and `metrics.json` say.

SUMMARY
    What ran, counts, tokens with what was saved, requests over time as a picture, groups, lanes, time,
    faults, decisions, notes. Every name and text in it may come from a stranger: `core/page` and
    `core/drawing` escape them, and nothing in the file can be run or fetched.

    It holds a bounded number of rows, whatever the batch was.

DIAGNOSTICS
    None: a figure that is not there is a dash.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from batchd.core.drawing import FAINT, GOOD, Panel, box, opened, steps, text
from batchd.core.model import Source
from batchd.core.page import figure, heading, page, paragraph, table
from batchd.core.space import in_units
from batchd.core.status import duration

#: The largest groups, the first lanes, and the last decisions; `metrics.json` has them all.
GROUPS_SHOWN = 20
LANES_SHOWN = 64
DECISIONS_SHOWN = 100

#: What the tokens are, in the order in which they are shown.
_TOKENS = {
    "prompt": "prompt tokens sent",
    "evaluated": "of these and of canaries, read by the model",
    "cached": "found in a slot, and not read again",
    "naive": "what reading every prompt from its first token would have read",
    "ideal": "each shared beginning once, and the rest of each request",
    "completion": "tokens of answers",
    "cold_prefills": "answers whose beginning the server did not hold",
}

_WIDTH, _HEIGHT = 1_000, 300
_PANEL = Panel(80, 56, 890, 236)

_DASH = "-"

_Told = Mapping[str, Any]


def report(batch: Mapping[str, object], metrics: Mapping[str, object]) -> str:
    """The whole file."""
    told: _Told = metrics
    source = told["provenance"]["input"]
    counts: Any = batch.get("request_counts") or {}
    return page(
        f"{source['name']}: {batch.get('status')}",
        [
            paragraph(f"{told['batch_id']}, {in_units(source['bytes'])}, SHA-256 {source['sha256']}", True),
            paragraph(_outcome(counts, told)),
            *map(paragraph, _errors(batch)),
            *map(paragraph, told["notes"]),
            heading("What ran"),
            table(("model", "window", "slots", "engine", "digest", "loads"), map(_model, _models(told))),
            heading("Tokens"),
            paragraph(_saved(told)),
            table(("", "tokens", "source"), _tokens(told["tokens"])),
            *_over_time(told["pace"]),
            heading("Time"),
            table(("", ""), _times(told)),
            *_groups(told["groups"]),
            *_lanes(told["lanes"]["lanes"]),
            *_faults(told["faults"]),
            *_decisions(told["decisions"]),
        ],
    )


def _outcome(counts: _Told, told: _Told) -> str:
    answers = told["answers"]
    parts = [
        f"{_count(counts.get('total'))} requests: {_count(counts.get('completed'))} answered, "
        f"{_count(counts.get('failed'))} failed, in {duration(told['time']['wall_s'])}."
    ]
    for name, words in (
        ("empty", "answers are empty"),
        ("cut_at_bound", "answers were cut at their bound"),
        ("lowered_bounds", "answers had a bound above the largest window"),
        ("not_json", "answers are not the JSON that was asked for"),
        ("schema_broken", "answers break their schema"),
        ("deduplicated", "requests equal an earlier one"),
    ):
        if answers.get(name):
            parts.append(f"{_count(answers[name])} {words}.")
    return " ".join(parts)


def _errors(batch: Mapping[str, object]) -> Iterator[str]:
    errors: Any = batch.get("errors") or {}
    for error in (errors.get("data") or [])[:DECISIONS_SHOWN]:
        yield f"{error.get('code')}: {error.get('message')}"


def _models(told: _Told) -> Sequence[_Told]:
    models: Sequence[_Told] = told["provenance"].get("models") or []
    return models


def _model(use: _Told) -> tuple[str, ...]:
    engine = use.get("engine")  # kept by the batchd that loaded it, maybe an older one
    told: _Told = engine if isinstance(engine, dict) else {"name": engine}
    words = " ".join(str(told[key]) for key in ("name", "version", "mode") if told.get(key))
    name = " ".join(str(use[key]) for key in ("name", "quantization") if use.get(key))
    return (
        name,
        _count(use.get("window_tokens")),
        _count(use.get("slots")),
        words or _DASH,
        str(use.get("digest") or _DASH),
        _count(use.get("loads")),
    )


def _saved(told: _Told) -> str:
    share, source = told["tokens"]["saved_share"]["value"], told["tokens"]["saved_share"]["source"]
    if source == Source.UNKNOWN:
        return "How much was not read again is not told by this server, and nothing is claimed."
    if share is None:
        return "No prompt has an answer."
    saved_s = told["time"]["prefill_saved_s"]["value"]
    time = "" if not saved_s else f", which is about {duration(saved_s)} of reading in one slot"
    words = f"{_about(source)}{share:.1%} of the prompt tokens were not read again{time} (source: {source})."
    return words[0].upper() + words[1:]


def _tokens(tokens: _Told) -> Iterator[tuple[str, ...]]:
    for name, words in _TOKENS.items():
        if name in tokens:
            value, source = tokens[name]["value"], str(tokens[name]["source"])
            yield words, _count(value) if value is None else _about(source) + _count(value), source


def _over_time(pace: _Told) -> Iterator[str]:
    if pace["answers"]:
        yield heading("Requests over time")
        yield figure(draw_pace(pace["answers"], float(pace["step_s"])))


def draw_pace(answers: Sequence[int], step_s: float) -> str:
    """Answers a second in each step of the batch."""
    rates = [count / step_s for count in answers]
    ticks = steps(max(rates))
    wide = _PANEL.width / len(rates)
    parts = opened(_WIDTH, _HEIGHT)
    parts += _PANEL.frame("requests per second", f"time; one bar is {duration(step_s)}")
    parts += _PANEL.grid([(_PANEL.height_of(tick, ticks[-1]), f"{tick:,g}") for tick in ticks])
    for number, rate in enumerate(rates):
        top = _PANEL.height_of(rate, ticks[-1])
        left = _PANEL.left + number * wide
        label = f"after {duration(number * step_s)}: {rate:.2f}/s"
        parts.append(box(left, top, max(wide - 1, 0.5), _PANEL.bottom - top, GOOD, label))
    for share in (0.0, 0.5, 1.0):
        x, at = _PANEL.left + share * _PANEL.width, duration(share * len(rates) * step_s)
        parts.append(text(x, _PANEL.bottom + 18, at, anchor="middle", fill=FAINT))
    return "\n".join([*parts, "</svg>"])


def _times(told: _Told) -> Iterator[tuple[str, str]]:
    time, rates, memory = told["time"], told["rates"], told["memory"]
    yield "begun", _moment(time["started_at"])
    yield "ended", _moment(time["finished_at"])
    yield "loads of the model", f"{_count(time['loads'])}, {time['load_s']:,.1f} s"
    for name, words in (
        ("requests_per_s", "requests a second"),
        ("prefill_tokens_per_s", "tokens read a second, in one slot"),
        ("decode_tokens_per_s", "tokens written a second, in one slot"),
        ("total_tokens_per_s", "tokens a second, all together"),
    ):
        value, source = rates[name]["value"], rates[name]["source"]
        yield words, _DASH if value is None else f"{_about(source)}{value:,.2f} ({source})"
    for name, words in (
        ("daemon_anonymous_bytes", "memory of batchd at the end"),
        ("server_resident_peak_bytes", "memory of the model server, at most"),
    ):
        if memory.get(name):
            yield words, in_units(memory[name])
    if memory.get("energy_wh"):
        yield "energy of the GPUs", f"{memory['energy_wh']:,.1f} Wh"


def _groups(groups: _Told) -> Iterator[str]:
    shown = groups["largest"][:GROUPS_SHOWN]
    if not shown:
        return
    yield heading(f"Prefix groups: {_count(groups['count'])}")
    heads = ("model", "requests", "shared tokens", "prompt tokens", "evaluated", "cold")
    names = ("requests", "shared_tokens", "prompt_tokens", "evaluated_tokens", "cold_prefills")
    rows = [(str(group["model"]), *(_count(group.get(name)) for name in names)) for group in shown]
    yield table(heads, rows, numbers_from=1)
    if groups["count"] > len(shown):
        yield paragraph(f"The {len(shown)} largest; metrics.json has more.", is_faint=True)


def _lanes(lanes: Sequence[_Told]) -> Iterator[str]:
    if not lanes:
        return
    yield heading("Lanes")
    heads = ("lane", "answers", "prompt tokens", "evaluated", "tokens of answers", "busy")
    names = ("answers", "prompt_tokens", "evaluated_tokens", "completion_tokens")
    rows = [
        (str(lane["lane"]), *(_count(lane.get(name)) for name in names), duration(lane["busy_s"]))
        for lane in lanes[:LANES_SHOWN]
    ]
    yield table(heads, rows, numbers_from=1)


def _faults(faults: _Told) -> Iterator[str]:
    rows = [(name, _count(count)) for name, count in faults.items() if isinstance(count, int) and count]
    if rows:
        yield heading("Faults")
        yield table(("category", "attempts"), rows, numbers_from=1)


def _decisions(decisions: Sequence[_Told]) -> Iterator[str]:
    if not decisions:
        return
    yield heading("Decisions")
    if len(decisions) > DECISIONS_SHOWN:
        yield paragraph(f"The last {DECISIONS_SHOWN} of {len(decisions):,}.", is_faint=True)
    rows = [
        (_moment(told["at"]), *(str(told[name]) for name in ("name", "old", "new", "cause")))
        for told in decisions[-DECISIONS_SHOWN:]
    ]
    yield table(("when", "what", "before", "after", "cause"), rows)


def _about(source: str) -> str:
    """Stands before a number that is no count."""
    return "about " if source == Source.ESTIMATE else ""


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else _DASH


def _moment(at: float) -> str:
    """UTC: a report is read on another machine than it was made on."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
