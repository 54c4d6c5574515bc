"""The report of an audit: what was looked at, what was found, what was left out.

SUMMARY
    A damaged file of a large batch has a finding for every line of it, so of one batch only the first ones
    are kept, and the others counted.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from batchd.core.audit.finding import Finding

#: Findings kept of one batch: enough to see a pattern.
FINDINGS_PER_BATCH_MAX = 50


@dataclass(slots=True)
class Looked:
    """How much was looked at."""

    batches_at_work: int = 0
    journal_lines: int = 0
    results: int = 0
    result_lines: int = 0
    originals: int = 0
    bytes_read: int = 0

    def figures(self) -> dict[str, int]:
        """By name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class Found:
    """The findings of one batch, or of the rooms. `more` were not kept."""

    findings: tuple[Finding, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "Found":
        """All of them counted, the first ones kept."""
        kept: list[Finding] = []
        more = 0
        for finding in findings:
            if len(kept) < FINDINGS_PER_BATCH_MAX:
                kept.append(finding)
            else:
                more += 1
        return cls(tuple(kept), more)

    def confirmed(self, again: "Found") -> "Found":
        """What a second look found too: a daemon at work may have been between two steps at the first."""
        before = {(finding.rule, finding.place) for finding in self.findings}
        kept = tuple(item for item in again.findings if (item.rule, item.place) in before)
        return Found(kept, again.more if kept else 0)


@dataclass(frozen=True, slots=True)
class Report:
    """All that an audit says. `skipped` are sentences about what could not be looked at."""

    spool: str
    is_held: bool
    findings: tuple[Finding, ...]
    more: int
    skipped: tuple[str, ...] = ()
    looked: Looked = field(default_factory=Looked)

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
