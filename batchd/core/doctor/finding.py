"""Finding: one thing that was looked at, what it means, and what to type.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing stands, from good to bad."""

    OK = "ok"
    NOTE = "note"  # worth knowing; nothing to do
    WARNING = "warning"  # it will work, and could be better or may stop working
    PROBLEM = "problem"  # it will not work


@dataclass(frozen=True, slots=True)
class Finding:
    """`saw` is what was looked at and found; `means` and `step` (what to type) may be empty."""

    topic: str
    verdict: Verdict
    saw: str
    means: str = ""
    step: str = ""


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing stands in the way."""
    return all(finding.verdict is not Verdict.PROBLEM for finding in findings)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; what is equally bad stays in its order."""
    worst_first = list(reversed(Verdict))
    return sorted(findings, key=lambda finding: worst_first.index(finding.verdict))


def not_seen(topic: str, why: str) -> Finding:
    """A look that failed hides nothing else, and is no problem of the machine's."""
    means = "Nothing is known about this; the other findings stand."
    return Finding(topic, Verdict.WARNING, f"It could not be looked at: {why}.", means)
