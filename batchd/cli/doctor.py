"""`batchd doctor`: looks at this machine, and says what each finding means and what to type.

SUMMARY
    The findings to standard output, the worst first. Exit code 1 when one of them is a problem.

DIAGNOSTICS
    None: whatever goes wrong is a finding; wrong settings too, and the rest is looked at with the defaults.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from batchd.app.doctor import OnLook, examine
from batchd.cli.terminal import ConfigOption, JsonOption, SpoolOption, console, put, put_json
from batchd.core.doctor.finding import Finding, Verdict, in_order, is_well
from batchd.errors import ConfigError
from batchd.settings import Settings, environment, load_settings, without_settings

_STYLES = {Verdict.OK: "green", Verdict.NOTE: None, Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}

_INDENT = " " * 10


def doctor(
    spool: SpoolOption = None,
    config: ConfigOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Load no model; slots are not measured.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Look at this machine, and say what is wrong and what to type.

    Engine, models, slots (measured), GPU, memory, disk, spool, sleep. Nothing is changed; a small load of a
    model is made where nobody is disturbed, and taken back.

    \b
    Example:
      batchd doctor
      batchd doctor --quick --json
    """
    settings, found = _settings(spool, config)
    with _display() as on_look:
        found += asyncio.run(examine(settings, environment(), quick, on_look))
    found = in_order(found)
    if as_json:
        put_json({"is_well": is_well(found), "findings": [asdict(finding) for finding in found]})
    else:
        _show(found)
    return 0 if is_well(found) else 1


def _settings(spool: Path | None, config: Path | None) -> tuple[Settings, list[Finding]]:
    """The settings; where they are wrong, the defaults, and the finding."""
    try:
        return load_settings({"spool": spool}, config), []
    except ConfigError as error:
        means = "No other verb works with these settings; what follows was looked at with the defaults."
        finding = Finding("settings", Verdict.PROBLEM, error.message, means, error.next_step)
        return load_settings({"spool": spool}, Path("/dev/null"), without_settings()), [finding]


@contextmanager
def _display() -> Iterator[OnLook]:
    """What is looked at now, on a terminal."""
    screen = console(is_error=True)
    if not screen.is_terminal:
        yield lambda topic: None
        return
    with screen.status("looking") as line:
        yield lambda topic: line.update(f"looking at: {topic}")


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        put(f"{finding.verdict.value:<9} {finding.topic}: {finding.saw}", _STYLES[finding.verdict])
        if finding.means:
            put(f"{_INDENT}{finding.means}")
        if finding.step:
            put(f"{_INDENT}-> {finding.step}", "bold")
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    if problems:
        put(f"{problems} of {len(findings)} findings are problems.", "red")
    else:
        put(f"{len(findings)} findings, and no problem among them.", "green")
