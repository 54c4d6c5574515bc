"""`batchd bench`: what batchd is worth on this machine, measured; never remembered.

SUMMARY
    On a real model: the same work in each case, in turn, with a table, pictures and a projection that is
    called one. How long it will take is said before it begins.

DIAGNOSTICS
    Fatal: UsageError for cases and numbers that make no sense; UnavailableError when the model cannot be
    used. Interrupted, nothing is left behind.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from batchd.cli.engine import EngineOption, GgufOption, check_engine, engine_flags, only_this_file
from batchd.cli.steps import step_display
from batchd.cli.terminal import ConfigOption, JsonOption, put, put_json, put_table, say
from batchd.core.comparison import CASES, Comparison
from batchd.core.status import duration
from batchd.errors import ConfigError, UsageError
from batchd.settings import Settings, load_settings
from batchd.tools.bench import GROUPS, LINES, ROUNDS, Plan, Probed, compare, probe
from batchd.tools.machine import Machine, this_machine
from batchd.tools.sheet import HEADS, PROJECTED, PROJECTION_NOTE, cells, on_what, projected, sheet, work_words
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
        str, typer.Option("--lines", metavar="N,N,...", help="Sizes of the work, in lines.")
    ] = ",".join(map(str, LINES)),
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
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML file with pictures too.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Measure what batchd is worth on this machine: the same work in several ways.

    naive: batchd with the strategy naive. keep-alive: a simple client, one request after the other, with
    the model kept loaded. prefix: batchd as it is. bare: a loop that keeps every slot busy, with the lines
    sorted by their beginnings, and keeps nothing. Nothing else should need the model server meanwhile.

    \b
    Example:
      batchd bench --model smollm2:135m
      batchd bench --gguf model.gguf --lines 100,1000 --cases prefix,bare --report bench.html
    """
    check_engine(engine, gguf)
    sizes = _sizes(lines)
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(
            f"There is no directory {report.parent} for the report.", "Make it, or name another."
        )
    work = Workload(sizes[-1], groups, prompt_tokens, answer_tokens)
    plan = Plan(work, sizes, _cases(cases), rounds)
    settings = only_this_file(load_settings({**engine_flags(engine, gguf), "model": model}, config), gguf)
    machine = this_machine()
    say("One load, to see how fast it is ...")
    probed = probe(settings, _model(settings, gguf), plan)
    _announce(probed, plan)
    with step_display() as on_step:
        comparison = compare(settings, probed, plan, on_step)
    if report is not None:
        _write(report, sheet(comparison, plan, probed, machine))
    if as_json:
        told = {"machine": machine.as_dict(), "model": asdict(probed), "work": asdict(work)}
        put_json({**told, "cases": CASES, **comparison.as_dict()})
    else:
        _show(comparison, plan, probed, machine, report)
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


def _announce(probed: Probed, plan: Plan) -> None:
    longest_s, shortest_s = probed.seconds(plan)
    runs = len(plan.cases) * plan.rounds * len(plan.sizes)
    took = (
        f"{duration(shortest_s)} to {duration(longest_s)}" if shortest_s < longest_s else duration(longest_s)
    )
    say(
        f"{on_what(probed)}: it reads {probed.read_tokens_per_s:,.0f} tokens/s and writes "
        f"{probed.write_tokens_per_s:,.0f}. {runs} runs will take about {took}; Ctrl-C ends them."
    )


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
