"""`batchd bench`: what batchd is worth on this machine, measured; never remembered.

SUMMARY
    On a real model: the same work in each case, in turn, with a table, pictures and a projection that is
    called one. With --overhead: batchd alone, row by row, with what each row must reach. How long it will
    take is said before it begins. A row that falls short is a finding and no failure: the exit code is 0.

DIAGNOSTICS
    Fatal: UsageError for cases and numbers that make no sense; UnavailableError when the model cannot be
    used. Interrupted, nothing is left behind.
"""

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from batchd.cli.engine import EngineOption, GgufOption, check_engine, engine_flags, only_this_file
from batchd.cli.steps import step_display
from batchd.cli.terminal import ConfigOption, JsonOption, put, put_json, put_table, say
from batchd.core.bars import HEADS as BAR_HEADS
from batchd.core.bars import cells as bar_cells
from batchd.core.bars import notes
from batchd.core.comparison import CASES, Comparison
from batchd.core.model import Source
from batchd.core.status import duration
from batchd.errors import ConfigError, UsageError
from batchd.settings import Settings, load_settings
from batchd.tools.bench import GROUPS, LINES, ROUNDS, Plan, Probed, compare, on_one_server, probe
from batchd.tools.machine import Machine, this_machine
from batchd.tools.overhead import measure_overhead
from batchd.tools.scope import FULL, Scope, seconds
from batchd.tools.sheet import (
    HEADS,
    PROJECTED,
    PROJECTION_NOTE,
    cells,
    on_what,
    projected,
    sheet,
    table_sheet,
    work_words,
)
from batchd.tools.table import in_order, rows_on_model
from batchd.tools.workload import ANSWER_TOKENS, PROMPT_TOKENS, Workload

#: More than the headline is no bench.
LINES_MAX = 1_000_000

#: A model file that is given without a name answers every name; this one is written into the requests.
ANY_NAME = "model"


def bench(
    engine: EngineOption = None,
    gguf: GgufOption = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model; else the one that is configured."),
    ] = None,
    lines: Annotated[
        str | None,
        typer.Option("--lines", metavar="N,N,...", help="Sizes of the work, in lines; else small ones."),
    ] = None,
    cases: Annotated[
        str, typer.Option("--cases", metavar="NAME,...", help=f"Some of {', '.join(CASES)}.")
    ] = ",".join(CASES),
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, max=101, help="Runs of each case.")
    ] = ROUNDS,
    groups: Annotated[
        int,
        typer.Option("--groups", metavar="N", min=1, max=10_000, help="Different rubrics, dealt unevenly."),
    ] = GROUPS,
    prompt_tokens: Annotated[
        int, typer.Option("--prompt-tokens", metavar="N", min=20, max=100_000, help="Length of a rubric.")
    ] = PROMPT_TOKENS,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", metavar="N", min=1, max=4_096, help="Bound of an answer.")
    ] = ANSWER_TOKENS,
    is_overhead: Annotated[
        bool, typer.Option("--overhead", help="Measure batchd alone, against a server that answers at once.")
    ] = False,
    is_full: Annotated[
        bool, typer.Option("--full", help="With --overhead: the whole table, up to a million lines; hours.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML file with pictures too.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Measure what batchd is worth on this machine, in four ways.

    naive: batchd with the strategy naive. keep-alive: a simple client, one request after the other, with
    the model kept loaded. prefix: batchd as it is. bare: a loop that keeps every slot busy, with the lines
    sorted by their beginnings, and keeps nothing. Nothing else should need the model server meanwhile.

    \b
    Example:
      batchd bench --model smollm2:135m
      batchd bench --gguf model.gguf --lines 100,1000 --cases prefix,bare --report bench.html
      batchd bench --overhead
    """
    # Asked to end, it ends its daemons and servers too, as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    check_engine(engine, gguf)
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(
            f"There is no directory {report.parent} for the report.", "Make it, or name another."
        )
    settings = only_this_file(load_settings({**engine_flags(engine, gguf), "model": model}, config), gguf)
    settings = on_one_server(settings)
    has_model = engine is not None or gguf is not None or model is not None
    sizes = _sizes(lines or ",".join(map(str, LINES)))
    work = Workload(sizes[-1], groups, prompt_tokens, answer_tokens)
    plan = Plan(work, sizes, _cases(cases), rounds)
    if is_overhead or is_full:
        scope = FULL if is_full else Scope() if lines is None else FULL.within(sizes, rounds)
        return _overhead(
            settings, scope, plan, _model(settings, gguf) if has_model else None, report, as_json
        )
    return _on_model(settings, _model(settings, gguf), plan, report, as_json)


def _on_model(settings: Settings, model: str, plan: Plan, report: Path | None, as_json: bool) -> int:
    machine = this_machine()
    probed = _probed(settings, model, plan, len(plan.cases))
    with step_display() as on_step:
        comparison = compare(settings, probed, plan, on_step)
    if report is not None:
        _write(report, sheet(comparison, plan, probed, machine))
    if as_json:
        told = {"machine": machine.as_dict(), "model": asdict(probed), "work": asdict(plan.work)}
        put_json({**told, "cases": CASES, **comparison.as_dict()})
    else:
        _show(comparison, plan, probed, machine, report)
    return 0


def _overhead(
    settings: Settings, scope: Scope, plan: Plan, model: str | None, report: Path | None, as_json: bool
) -> int:
    machine = this_machine()
    say(f"batchd alone, against an instant server: about {duration(seconds(scope))}; Ctrl-C ends it.")
    with step_display() as on_step:
        rows = measure_overhead(settings, scope, on_step)
    if model is not None:
        probed = _probed(settings, model, plan, 3)
        with step_display() as on_step:
            rows += rows_on_model(settings, probed, plan, on_step)
    rows = in_order(rows)
    if report is not None:
        _write(report, table_sheet(rows, machine))
    if as_json:
        put_json({"machine": machine.as_dict(), "rows": [row.as_dict() for row in rows]})
        return 0
    put_table(BAR_HEADS, map(bar_cells, rows))
    for note in notes(rows):
        put(note, "yellow")
    put("")
    put(machine.words())
    if report is not None:
        put(str(report))
    return 0


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 10]
    if len(numbers) != len(parts) or not all(0 < number <= LINES_MAX for number in numbers):
        raise UsageError(
            f"'{text}' are no numbers of lines.",
            f"Give some from 1 to {LINES_MAX:,}, as in --lines 100,1000.",
        )
    return sorted(set(numbers))


def _cases(text: str) -> list[str]:
    asked = [part.strip() for part in text.split(",")]
    unknown = [case for case in asked if case not in CASES]
    if unknown:
        raise UsageError(f"There is no case '{unknown[0]}'.", f"Give --cases some of {','.join(CASES)}.")
    return [case for case in CASES if case in asked]


def _model(settings: Settings, gguf: Path | None) -> str:
    if settings.model is not None:
        return settings.model
    if settings.engine == "llamacpp":
        if len(settings.llamacpp.models) == 1:
            return next(iter(settings.llamacpp.models))
        if settings.llamacpp.gguf is not None and not settings.llamacpp.models:
            return ANY_NAME
    raise ConfigError(
        "No model is named.", "Give --model NAME, as in `batchd bench --model smollm2:135m`, or --gguf FILE."
    )


def _probed(settings: Settings, model: str, plan: Plan, case_count: int) -> Probed:
    """The model as one look finds it, and how long all of it will take."""
    say("One load, to see how fast it is ...")
    probed = probe(settings, model, plan)
    longest_s, shortest_s = probed.seconds(plan)
    share = case_count / len(plan.cases)
    least = "at least " if probed.source == Source.UNKNOWN else ""
    say(
        f"{on_what(probed)}: it reads {least}{probed.read_tokens_per_s:,.0f} tokens/s and writes "
        f"{probed.write_tokens_per_s:,.0f}. All runs will take about {duration(shortest_s * share)} to "
        f"{duration(longest_s * share)}; Ctrl-C ends them."
    )
    return probed


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", "Name another with --report."
        ) from error


def _show(comparison: Comparison, plan: Plan, probed: Probed, machine: Machine, report: Path | None) -> None:
    put(on_what(probed), style="bold")
    put(work_words(plan, probed))
    put_table(HEADS, map(cells, comparison.rows()))
    put("")
    put(PROJECTION_NOTE, style="bold")
    put_table(PROJECTED, map(projected, comparison.projections()))
    put("")
    put(machine.words())
    if report is not None:
        put(str(report))
