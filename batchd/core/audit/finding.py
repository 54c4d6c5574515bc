"""Findings: what an audit says is wrong, by the rule that is broken.

SUMMARY
    The rules are the invariants that hold at every moment and after every crash, and the table of states. A
    finding is one sentence about one place, with the step that helps.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """A promise that can be checked from outside, by its short name."""

    ACKNOWLEDGED = "I1"
    ONE_PLACE = "I2"
    ONE_OUTCOME = "I3"
    WHOLE_OUTBOX = "I4"
    NO_REPEAT = "I5"
    INSIDE = "I6"
    UNATTENDED = "I7"
    COUNTERS = "I8"
    TABLE = "S1-S7"


MEANING: dict[Rule, str] = {
    Rule.ACKNOWLEDGED: "every acknowledged result is in the journal",
    Rule.ONE_PLACE: "every claimed file is in exactly one place, its bytes kept",
    Rule.ONE_OUTCOME: "one outcome for each input line, in input order, custom_id verbatim",
    Rule.WHOLE_OUTBOX: "nothing in the outbox is partial, changes, or is published twice",
    Rule.NO_REPEAT: "nothing finished runs again",
    Rule.INSIDE: "nothing leads out of the spool",
    Rule.UNATTENDED: "a restart needs no repair by hand",
    Rule.COUNTERS: "counters equal a full recount",
    Rule.TABLE: "every directory is a row of the table of states",
}

#: What helps, by where the damage is.
REDO_RESULT = "Do not use this result: move it away, and hand its original (see archive/) in again."
REDO_BATCH = (
    "Stop batchd, move the batch's directory out of processing/ and keep it, and hand its original in again."
)
LOOK = "Find out who put it there, and move it out of the spool."


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong. `place` is a path below the spool, printable."""

    rule: Rule
    place: str
    what: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.rule.value} {self.place}: {self.what} {self.next_step}"
