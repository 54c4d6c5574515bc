"""`batchd verify`: whether a spool is what it must be, from its files alone, read-only.

SUMMARY
    For a stopped daemon as well as beside a running one. What is wrong is told in one sentence each, with the
    rule that is broken and the next step; then what was looked at, and how often each rule was broken.

DIAGNOSTICS
    Fatal: ConfigError where there is no spool, or this user may not look into it; SpoolError when a directory
    cannot be listed.
    Warning: what could not be looked at. The exit code is 1 for findings only.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn

from batchd.app.look import Watch
from batchd.app.verify import verify as verify_spool
from batchd.cli.terminal import JsonOption, SpoolOption, console, put, put_json, put_table, say
from batchd.core.audit.finding import MEANING
from batchd.core.audit.report import Report
from batchd.settings import load_settings

#: Bytes between two moves of the display: more often nobody can read it, and it costs time.
_STEP_BYTES = 4 << 20


def verify(spool: SpoolOption = None, as_json: JsonOption = False) -> int:
    """Check a whole spool, and change nothing.

    Results are compared with their hashes and their originals, journals and states with each other.

    \b
    Example:
      batchd verify
      batchd verify --spool /var/spool/batchd --json
    """
    root = load_settings({"spool": spool}).spool
    with _display() as watch:
        report = verify_spool(root, watch=watch)
    if as_json:
        put_json(_as_json(report))
    else:
        _show(report)
    return 0 if report.is_well else 1


@contextmanager
def _display() -> Iterator[Watch]:
    """A line that says what is read, on a terminal."""
    screen = console(is_error=True)
    if not screen.is_terminal:
        yield lambda place, size_bytes: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[read]:,} MB"), TextColumn("{task.description}"))
    read_bytes = shown_bytes = 0
    with Progress(*columns, console=screen, transient=True) as progress:
        line = progress.add_task("", total=None, read=0)

        def watch(place: str, size_bytes: int) -> None:
            nonlocal read_bytes, shown_bytes
            read_bytes += size_bytes
            if read_bytes - shown_bytes >= _STEP_BYTES:
                shown_bytes = read_bytes
                progress.update(line, description=place, read=read_bytes >> 20)

        yield watch


def _show(report: Report) -> None:
    for finding in report.findings:
        put(str(finding), style="red")
    if report.more:
        put(f"and {report.more:,} more")
    for sentence in report.skipped:
        say(f"Not looked at: {sentence}", style="yellow")
    put(f"spool {report.spool}, {'a batchd is at work on it' if report.is_held else 'no batchd holds it'}")
    figures = report.looked.figures().items()
    put_table(("looked at", ""), ((name.replace("_", " "), f"{count:,}") for name, count in figures))
    if report.is_well:
        put("Nothing is wrong.", style="green")
    else:
        counts = Counter(finding.rule for finding in report.findings)
        rows = ((rule.value, MEANING[rule], f"{counts[rule]:,}") for rule in MEANING if counts[rule])
        put_table(("rule", "says", "broken"), rows)


def _as_json(report: Report) -> dict[str, object]:
    return {
        "spool": report.spool,
        "is_well": report.is_well,
        "is_held": report.is_held,
        "findings": [
            {"rule": item.rule.value, "place": item.place, "what": item.what, "next_step": item.next_step}
            for item in report.findings
        ],
        "more": report.more,
        "not_looked_at": list(report.skipped),
        "looked_at": report.looked.figures(),
    }
