"""Blows of every kind, for some minutes or until there were enough: one table, and the same as JSON.

SUMMARY
    python -m tests.chaos MINUTES [--seed N] [--json FILE] [--only WORD ...]
    python -m tests.chaos --counts full [...]       until each kind has as many as a release is to have
    python -m tests.chaos --counts nightly [...]
    python -m tests.chaos --sum FILE ... [--json FILE]      several files together

    In minutes, the kind that lacks most of its nightly number is next, so that all are cut short alike. A
    FILE of the same commit that is there already is gone on with: an interrupted run loses nothing, and
    several may run side by side with `--only` and files of their own. Each run prints the command that
    strikes the same blows again.

DIAGNOSTICS
    Exit 1 when a test failed, or when anything was lost, doubled, computed again or claimed early; the output
    of a test that failed is shown. A kind that cannot be struck here (no root, no loop devices) is named.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.kinds import KINDS, Kind
from tests.chaos.report import Report, Run, added, forbidden, read_lines
from tests.chaos.tally import table

ROOT = Path(__file__).parents[2]

#: A run that takes so many times its expected time, and no less than so long, is taken for a hang.
PATIENCE = 10
PATIENCE_S_MIN = 600.0

#: A kind that fails so often is struck no more: the others have their turn.
FAILURES_MAX = 2
SHOWN_CHARS = 8_000


def main(arguments: Sequence[str]) -> int:
    asked = parsed(arguments)
    if asked.sum:
        report = added([Report.read(path) for path in asked.sum])
        report.write(asked.json)
    else:
        kinds = [kind for kind in KINDS if not asked.only or kind.word in asked.only]
        report = Report.begun(asked.json, ROOT)
        seed = asked.seed if asked.seed is not None else secrets.randbelow(10**9)
        print(f"commit {report.commit}, seed {seed}", flush=True)
        runs = in_minutes(report, kinds, asked.minutes) if asked.minutes else in_counts(report, kinds, asked)
        for kind, amount in runs:
            struck(report, kind, amount, seed + len(report.runs))
            report.write(asked.json)
    lines = report.lines()
    print(table(lines))
    for name in report.skipped():
        print(f"not struck here: {name}")
    wrong = forbidden(lines)
    print(wrong or f"nothing lost, in {sum(run.seconds for run in report.runs) / 60:.0f} minutes of runs")
    return int(bool(wrong))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Blows of every kind.")
    parser.add_argument("minutes", type=float, nargs="?")
    parser.add_argument("--counts", choices=("full", "nightly"))
    parser.add_argument("--only", nargs="+", choices=[kind.word for kind in KINDS], default=[])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sum", nargs="+", type=Path)
    asked = parser.parse_args(arguments)
    if sum(map(bool, (asked.minutes, asked.counts, asked.sum))) != 1:
        parser.error("give MINUTES, --counts or --sum")
    return asked


def in_minutes(report: Report, kinds: Sequence[Kind], minutes: float) -> Iterator[tuple[Kind, int]]:
    """Always the kind that lacks most of its nightly number, as long as something of it fits."""
    until = time.perf_counter() + 60 * minutes
    left = list(kinds)
    while left := open_kinds(report, left):
        kind = min(left, key=lambda kind: report.done(kind) / kind.nightly)
        # The first round is for all of them, whatever they take.
        turn_s = min(until - time.perf_counter(), 60 * minutes / len(kinds))
        amount = min(kind.chunk, int((turn_s - kind.begin_s) / report.seconds_each(kind)))
        if amount >= 1:
            yield kind, amount
        else:
            left.remove(kind)


def in_counts(report: Report, kinds: Sequence[Kind], asked: argparse.Namespace) -> Iterator[tuple[Kind, int]]:
    """Kind by kind, until each has its number."""
    for kind in kinds:
        wanted: int = getattr(kind, asked.counts)
        while (lacks := wanted - report.done(kind)) > 0 and open_kinds(report, [kind]):
            # Chance decides what a blow is, so ask for some more than are lacking.
            yield kind, min(kind.chunk, max(1, round(1.2 * lacks / kind.blows_each)))


def open_kinds(report: Report, kinds: Sequence[Kind]) -> list[Kind]:
    """Those that can be struck here, and did not fail too often."""
    return [
        kind for kind in kinds if kind.name not in report.skipped() and report.failures(kind) < FAILURES_MAX
    ]


def struck(report: Report, kind: Kind, amount: int, seed: int) -> None:
    """One run, booked."""
    variables = kind.environment(amount, seed)
    shown = " ".join([*(f"{name}={value}" for name, value in variables.items()), "pytest", "-x", *kind.tests])
    expected_s = kind.begin_s + amount * report.seconds_each(kind)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="batchd-chaos-") as folder:
        book, said = Path(folder) / "tally", Path(folder) / "output"
        # Whose tests these are decides whose code they test, whatever is installed.
        environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT), "BATCHD_TEST_TALLY": str(book)}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *kind.tests]
        with said.open("wb") as output:
            code = ended(command, environment, output.fileno(), max(PATIENCE * expected_s, PATIENCE_S_MIN))
        run = Run(kind.word, amount, seed, round(time.perf_counter() - started, 1), code, read_lines(book))
        report.runs.append(run)
        word = "ok" if code == 0 else f"FAILED ({code})"
        print(f"{word}  {run.seconds:.0f} s  {kind.name}, {run.blows(kind)} blows: {shown}", flush=True)
        if code:
            print(said.read_text(errors="replace")[-SHOWN_CHARS:], flush=True)


def ended(command: Sequence[str], environment: dict[str, str], output: int, limit_s: float) -> int:
    """pytest's exit code; 124 for a hang."""
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=limit_s, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
