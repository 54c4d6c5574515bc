"""The report of runs of blows: what is kept of them in a file, summed, and gone on with.

SUMMARY
    report = Report.begun(path, root)    empty, or what that file has of the same commit
    report.write(path)
    added([one, other])                  several of one commit

DIAGNOSTICS
    SystemExit with a sentence: a file of another commit.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.kinds import KINDS, Kind
from tests.chaos.tally import COLUMNS, sums

#: Of these there must be none.
FORBIDDEN = ("lost", "doubled", "recomputed", "early_claims", "ended", "failed")


@dataclass
class Run:
    """One pytest of one kind, and what it booked. `code` is pytest's."""

    word: str
    amount: int
    seed: int
    seconds: float
    code: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    def blows(self, kind: Kind) -> int:
        return sum(line["blows"] for line in self.lines if line["kind"] == kind.name)


@dataclass
class Report:
    """All runs of one commit on one machine."""

    commit: str
    machine: str
    begun_at: str
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def begun(cls, path: Path | None, root: Path) -> "Report":
        commit = commit_of(root)
        if path is None or not path.exists():
            return cls(commit, machine(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        report = cls.read(path)
        if report.commit != commit:
            raise SystemExit(f"{path} is of commit {report.commit}, and this is {commit}: name another file.")
        return report

    @classmethod
    def read(cls, path: Path) -> "Report":
        kept = json.loads(path.read_bytes())
        runs = [Run(**run) for run in kept["runs"]]
        return cls(kept["commit"], kept["machine"], kept["begun_at"], runs)

    def write(self, path: Path | None) -> None:
        """Whole or not at all: the next run goes on with it."""
        if path is None:
            return
        lines = self.lines()
        summary = {"is_well": not forbidden(lines), "table": sums(lines), "not_struck": self.skipped()}
        whole = {**asdict(self), **summary}
        # One line for each row and each run: it is read by people too.
        rows = ",\n  ".join(
            f"{json.dumps(kind)}: {json.dumps(row)}" for kind, row in whole.pop("table").items()
        )
        runs = ",\n  ".join(map(json.dumps, whole.pop("runs")))
        rest = ",\n ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in whole.items())
        hidden = path.with_name(f".{path.name}.new")
        hidden.write_text(f'{{\n {rest},\n "table": {{\n  {rows}\n }},\n "runs": [\n  {runs}\n ]\n}}\n')
        hidden.replace(path)

    def lines(self) -> list[Mapping[str, Any]]:
        """What was booked. A run that failed without booking it has a line all the same."""
        found: list[Mapping[str, Any]] = []
        for run in self.runs:
            found += run.lines
            if run.code and not any(line["failed"] for line in run.lines):
                found.append({"kind": named(run.word).name, **dict.fromkeys(COLUMNS, 0), "failed": 1})
        return found

    def done(self, kind: Kind) -> int:
        """As the kind is counted."""
        runs = [run for run in self.runs if run.word == kind.word]
        if kind.is_counted_by_amount:
            return sum(run.amount for run in runs if run.code == 0 and run.blows(kind))
        return sum(run.blows(kind) for run in runs)

    def failures(self, kind: Kind) -> int:
        return sum(run.code != 0 for run in self.runs if run.word == kind.word)

    def skipped(self) -> list[str]:
        """Kinds whose tests were green and struck nothing: something lacks here that they need."""
        tried = {run.word for run in self.runs if run.code == 0}
        return [kind.name for kind in KINDS if kind.word in tried and not self.done(kind)]

    def seconds_each(self, kind: Kind) -> float:
        """Of one unit of its amount: as measured, or as guessed."""
        runs = [run for run in self.runs if run.word == kind.word and run.code == 0]
        if not runs:
            return kind.seconds
        at_work = sum(max(run.seconds - kind.begin_s, 0.1) for run in runs)
        return at_work / sum(run.amount for run in runs)


def added(reports: Sequence[Report]) -> Report:
    commits = sorted({report.commit for report in reports})
    if len(commits) > 1:
        raise SystemExit(f"these are of several commits: {', '.join(commits)}")
    machines = "; ".join(sorted({report.machine for report in reports}))
    runs = [run for report in reports for run in report.runs]
    return Report(commits[0], machines, min(report.begun_at for report in reports), runs)


def forbidden(lines: Iterable[Mapping[str, Any]]) -> str:
    """What must not be, in words; empty when all is well."""
    found = sums(lines)
    wrong = [
        f"{kind}: {numbers[name]} {name.replace('_', ' ')}"
        for kind, numbers in found.items()
        for name in FORBIDDEN
        if numbers.get(name)
    ]
    return "WRONG: " + "; ".join(wrong) if wrong else ""


def named(word: str) -> Kind:
    return next(kind for kind in KINDS if kind.word == word)


def read_lines(book: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in book.read_text().splitlines()] if book.exists() else []


def commit_of(root: Path) -> str:
    """With a sign when the tree is not what was committed."""
    try:
        said = [
            subprocess.run(
                ("git", *words), cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0] + ("+changes" if said[1] else "")


def machine() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}"
