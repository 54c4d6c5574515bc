"""`batchd check`: what intake would say of each line, without running anything.

SUMMARY
    Reads each file through the survey, with the options that lie beside it. Bad lines are told with number,
    code and message, up to ten for each code; then counts, prefix groups and sizes. Token counts are
    estimates: only the model's own tokenizer knows. Where the rates of the model are known (from an earlier
    result, or from a calibration), the time that it will take, with a range.

DIAGNOSTICS
    Fatal: UsageError for a file that cannot be read.
"""

import os
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from batchd.app.foretold import calibrated, known_rates
from batchd.cli.beside import opened, options_beside
from batchd.cli.outcome import OUT
from batchd.cli.source import Source, sources
from batchd.cli.terminal import JsonOption, console, put, put_json, put_table
from batchd.core.fault import LineFault
from batchd.core.forecast import Work, forecast
from batchd.core.ideal import saved_tokens
from batchd.core.record import Group
from batchd.core.request import LineLimits
from batchd.core.rules import Rules
from batchd.core.strategy import Strategy
from batchd.core.survey import Survey
from batchd.edges.validation import Validation
from batchd.settings import Settings, load_settings

#: Bad lines shown for each code: what is wrong with the file is clear by then. JSON gets all.
_SHOWN_MAX = 10

#: Groups shown; the largest decide what a batch costs. JSON gets as many as a person could want.
_GROUPS_SHOWN_MAX = 10
_GROUPS_JSON_MAX = 1_000

#: What the tokens are that are shared and need be read only once.
_SAVED = {
    Strategy.PREFIX: "read again by a naive run, and saved here",
    Strategy.NAIVE: "read again here, and saved by the strategy prefix",
    Strategy.CONVERSATION: "of system prompts, read once for a conversation and not for each request",
}

#: What no estimate here knows.
_GROWING = {
    Strategy.CONVERSATION: "; prompts grow by what was said before, which is in none of these numbers"
}

#: Below this a check is over before a bar is read.
_BAR_BYTES_MIN = 16 << 20

#: Lines between two moves of the bar.
_BAR_STEP_LINES = 1_000


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Batch files, JSONL; - for standard input.")
    ],
    as_json: JsonOption = False,
) -> int:
    """Say what is wrong with batch files, without running them.

    Each line is read as the daemon would read it.

    \b
    Example:
      batchd check requests.jsonl
      batchd check --json *.jsonl
    """
    settings = load_settings({})
    with sources(files, settings) as found:
        return max([_checked(source, settings, as_json) for source in found])


def _checked(source: Source, settings: Settings, as_json: bool) -> int:
    limits = LineLimits(settings.line_bytes_max, settings.completion_tokens_default)
    path = source.given
    ways = (
        settings.strict,
        options_beside(path),
        settings.strategy,
        settings.window_tokens_max,
        settings.lines_max,
    )
    with opened(source.path) as file, opened(source.path) as again, closing(Validation()) as schemas:
        survey = Survey(file, again, limits, *ways, schemas.refusal)
        faults = _with_bar(survey, source.path.stat().st_size)
        if as_json:
            found = [asdict(fault) for fault in faults]
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            put_json({"file": name, **_numbers(survey, settings), "faults": found})
        elif survey.foreign is not None:
            put(f"{path}: {survey.foreign.sentence}")
        else:
            _list(path, faults)
            _conclude(path, survey, settings)
    return 1 if survey.faulty or survey.refusals() else 0


def _with_bar(survey: Survey, size_bytes: int) -> Iterator[LineFault]:
    """The faults, with a bar on a terminal where it takes long enough to wonder."""
    screen = console(is_error=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    is_off = not screen.is_terminal or size_bytes < _BAR_BYTES_MIN
    with Progress(*columns, console=screen, transient=True, disable=is_off) as progress:
        bar = progress.add_task("", total=size_bytes)
        for fault in survey:
            if survey.total % _BAR_STEP_LINES == 0:
                progress.update(bar, completed=survey.lines.read_bytes)
            if fault is not None:
                yield fault


def _list(path: Path, faults: Iterator[LineFault]) -> None:
    told: Counter[str] = Counter()
    for fault in faults:
        told[fault.code] += 1
        if told[fault.code] <= _SHOWN_MAX:
            put(f"{path}:{fault.line}: {fault.code}: {fault.message}")
    for code, count in told.items():
        if count > _SHOWN_MAX:
            put(f"and {count - _SHOWN_MAX:,} more lines with {code} (--json shows all)")


def _conclude(path: Path, survey: Survey, settings: Settings) -> None:
    put(f"{path}: {_requests(survey.total)}, {survey.faulty:,} of them faulty", style="bold")
    for code, count in survey.codes.most_common():
        put(f"  {code}: {count:,}")
    for refusal in survey.refusals():
        put(f"  The batch would fail: {refusal.message}", style="red")
    for note in (*survey.notes(), *_window_note(survey, settings)):
        put(f"  {note}")
    groups = survey.groups()
    if groups:
        put(f"  prompt tokens, estimated: {survey.prompt_tokens:,}; the longest {survey.longest_tokens:,}")
        put(f"  prefix groups: {len(groups):,}")
        put(f"  strategy: {survey.strategy}{_GROWING.get(survey.strategy, '')}")
        put(f"  {_SAVED[survey.strategy]}: {_saved(survey):,} tokens, estimated")
        heads = ("    model", "url", "requests", "shared tokens", "saved tokens", "window")
        put_table(heads, map(_cells, groups[:_GROUPS_SHOWN_MAX]))
    if len(groups) > _GROUPS_SHOWN_MAX:
        put(f"    and {len(groups) - _GROUPS_SHOWN_MAX:,} more")
    for sentence in _time_words(_works(survey, settings), calibrated(settings)):
        put(f"  {sentence}")


def _works(survey: Survey, settings: Settings) -> dict[str, Work | None]:
    """By the model that serves: what it has to do; None where its rates are not known."""
    served = Rules(slots=1, model=settings.model, model_aliases=settings.model_aliases).served_model
    counts: Counter[str] = Counter()
    for group in survey.groups():
        counts[served(group.model)] += group.count
    rates = known_rates(settings, set(counts), (settings.spool / "outbox", OUT))
    saved = 0 if survey.strategy is Strategy.NAIVE else _saved(survey)
    each = (survey.prompt_tokens - saved) / max(counts.total(), 1)
    return {
        model: Work(rates[model], count, each * count) if model in rates else None
        for model, count in counts.items()
    }


def _time_words(works: dict[str, Work | None], calibrated_ones: Set[str]) -> Iterator[str]:
    known = [work for work in works.values() if work is not None]
    unknown = [model for model, work in works.items() if work is None]
    if unknown:
        yield f"How long it takes is not known: {_unknown_words(unknown[0], calibrated_ones)}."
    elif known:
        sources = "; ".join(f"{work.rates.model}: rates {work.rates.source}" for work in known)
        yield f"time, with answers of {'; '.join(told.words() for told in forecast(known))} ({sources})"


def _unknown_words(model: str, calibrated_ones: Set[str]) -> str:
    if model in calibrated_ones:
        return (
            f"the calibration of {model} could not tell how fast it reads (an Ollama before 0.33.3 does not)"
        )
    return f"no rates of {model} (`batchd calibrate {model}`)"


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _saved(survey: Survey) -> int:
    return sum(saved_tokens(group) for group in survey.groups())


def _cells(group: Group) -> tuple[str, ...]:
    numbers = (group.count, group.prefix_tokens, saved_tokens(group), group.window_tokens)
    return (f"    {group.model}", group.endpoint, *(f"{number:,}" for number in numbers))


def _seconds(works: dict[str, Work | None]) -> list[dict[str, object]] | None:
    """None where the rates of a model are not known."""
    known = [work for work in works.values() if work is not None]
    return [asdict(told) for told in forecast(known)] if known and len(known) == len(works) else None


def _window_note(survey: Survey, settings: Settings) -> Iterator[str]:
    most = settings.window_tokens_max
    if survey.longest_tokens >= most:
        yield (
            f"The longest prompt may have {survey.longest_tokens:,} tokens, estimated; window_tokens_max is "
            f"{most:,}. One that leaves no room for an answer gets an error line."
        )
    if survey.lowered:
        yield (
            f"{_requests(survey.lowered)} may ask for a longer answer than the largest window leaves room "
            f"for (window_tokens_max is {most:,}): what is left is the bound then, and an answer that goes "
            "on gets an error line."
        )


def _numbers(survey: Survey, settings: Settings) -> dict[str, object]:
    """Everything but the faults; a caller must have read those before."""
    groups = survey.groups()
    return {
        "total": survey.total,
        "faulty": survey.faulty,
        "codes": dict(survey.codes),
        "refusals": [asdict(refusal) for refusal in survey.refusals()],
        "notes": [*survey.notes(), *_window_note(survey, settings)],
        "bytes": survey.lines.read_bytes,
        "prompt_tokens_estimated": survey.prompt_tokens,
        "longest_prompt_tokens_estimated": survey.longest_tokens,
        "lowered_bounds_estimated": survey.lowered,
        "strategy": survey.strategy.value,
        "saved_tokens_estimated": _saved(survey),
        "seconds_estimated": _seconds(_works(survey, settings)),
        "group_count": len(groups),
        "groups": [
            {**asdict(group), "saved_tokens": saved_tokens(group)} for group in groups[:_GROUPS_JSON_MAX]
        ],
    }
