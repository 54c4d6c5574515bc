"""Places: all that stands in a spool under the id of one batch, against the table of states.

SUMMARY
    `Standing` is what was seen, `audit_standing` says what of it cannot be. `audit_strangers` is for names
    that no batch has.

DIAGNOSTICS
    None raised: everything wrong is a Finding.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from batchd.core.audit.finding import LOOK, REDO_BATCH, REDO_RESULT, Finding, Rule
from batchd.core.lifecycle import Phase, Place, State, UnknownStateError, state_of
from batchd.core.status import BatchStatus
from batchd.core.text import printable


class Kind(Enum):
    """What stands under a name."""

    DIRECTORY = auto()
    FILE = auto()
    LINK = auto()
    OTHER = auto()


#: What a batch's directory in processing/ may hold, and as what.
ROOMS: Mapping[str, Kind] = {
    "orig": Kind.DIRECTORY,
    "input.jsonl": Kind.FILE,
    "journal": Kind.DIRECTORY,
    "publish": Kind.DIRECTORY,
}

#: A damaged journal that recovery put aside.
_DAMAGED_JOURNAL = re.compile(r"journal\.damaged-\d+")

_ASIDE = re.compile(r"journal\.damaged-[0-9]+")

#: Nothing was sent yet, so nothing can have been answered.
_BEFORE_WORK = frozenset({State.S1A, State.S2, State.S2A, State.S3})

#: Before the rename that publishes.
_UNPUBLISHED = frozenset(State) - {State.S6, State.S6A}


@dataclass(frozen=True, slots=True)
class Standing:
    """All of one batch. `processing` is None without a directory; `phase` is of a journal that was read."""

    batch_id: str
    processing: Mapping[str, Kind] | None = None
    originals: Sequence[str] = ()  # batch files in orig/
    phase: Phase | None = None
    is_phase_known: bool = True
    is_trashed: bool = False
    results: Sequence[str] = ()  # result directories in the outbox
    archived: Sequence[str] = ()
    has_partial: bool = False
    counts: tuple[int, int, int] | None = None  # total, completed, failed of the journal
    shown: Sequence[BatchStatus] = field(default=())  # what status.json says of it, read before the journal

    @property
    def place(self) -> Place:
        """As recovery sees it."""
        names = self.processing or {}
        return Place(
            has_original=bool(self.originals),
            has_copy="input.jsonl" in names,
            has_journal="journal" in names,
            has_publish="publish" in names,
        )

    @property
    def aside(self) -> tuple[str, ...]:
        """Damaged journals that recovery has put aside; what was shown may go back to them."""
        names = self.processing or {}
        return tuple(name for name in names if is_aside(name) and names[name] is Kind.DIRECTORY)

    @property
    def state(self) -> State | None:
        """The row of the table; None where there is none, or nothing in processing/."""
        if self.processing is None or not self.is_phase_known:
            return None
        try:
            return state_of(self.place, self.phase)
        except UnknownStateError:
            return None


def is_aside(name: str) -> bool:
    """Whether a name is that of a damaged journal, beside the one that replaced it."""
    return _ASIDE.fullmatch(name) is not None


def audit_standing(standing: Standing) -> Iterator[Finding]:
    """What of this cannot be."""
    if standing.processing is not None:
        yield from _audit_directory(standing, standing.processing)
    if len(standing.results) > 1:
        names = ", ".join(standing.results)
        yield Finding(
            Rule.WHOLE_OUTBOX, "outbox", f"{standing.batch_id} is published twice: {names}.", REDO_RESULT
        )
    if standing.state in _UNPUBLISHED and standing.results:
        what = f"It is at work ({standing.state}), and a result of it is published already."
        step = "Stop batchd, and find out where the directory in the outbox comes from."
        yield Finding(Rule.ONE_PLACE, f"processing/{standing.batch_id}", what, step)
    if standing.has_partial and standing.processing is None and not standing.is_trashed:
        yield Finding(
            Rule.TABLE,
            f"partial/{standing.batch_id}.jsonl",
            "It belongs to no batch at work.",
            "Remove it: the answers are in the result, if there was one.",
        )
    if standing.has_partial and standing.state in _BEFORE_WORK and not standing.aside:
        what = "Its batch has no journal with answers."
        step = f"Stop batchd; keep the file and processing/{standing.batch_id}, and report it."
        yield Finding(Rule.ACKNOWLEDGED, f"partial/{standing.batch_id}.jsonl", what, step)
    yield from _audit_status(standing)


def audit_strangers(room: str, names: Mapping[str, Kind]) -> Iterator[Finding]:
    """Names that are no batch's, or not what a batch has under them, in a room of batchd's."""
    for name, kind in names.items():
        place = f"{room}/{printable(name)}"
        if kind is Kind.LINK:
            yield Finding(Rule.INSIDE, place, "It is a link, and batchd makes none.", LOOK)
            continue
        rule = Rule.WHOLE_OUTBOX if room == "outbox" and name.startswith(".") else Rule.TABLE
        yield Finding(rule, place, "It is no batch's: a person's hand, or a bug.", LOOK)


def _audit_directory(standing: Standing, names: Mapping[str, Kind]) -> Iterator[Finding]:
    place = f"processing/{standing.batch_id}"
    for name, kind in names.items():
        is_evidence = _DAMAGED_JOURNAL.fullmatch(name) is not None and kind is Kind.DIRECTORY
        if ROOMS.get(name) is not kind and not is_evidence:
            yield from audit_strangers(place, {name: kind})
    if standing.is_phase_known and standing.state is None:
        try:
            state_of(standing.place, standing.phase)
        except UnknownStateError as error:
            yield Finding(Rule.TABLE, place, error.message, error.next_step)
    if len(standing.originals) > 1:
        count = len(standing.originals)
        yield Finding(
            Rule.ONE_PLACE,
            f"{place}/orig",
            f"It holds {count} batch files.",
            "Leave the one that belongs there, and start batchd again.",
        )
    if standing.is_trashed:
        yield Finding(
            Rule.ONE_PLACE, place, "It is at work, and its deletion was begun (.trash-) as well.", REDO_BATCH
        )
    if standing.state is State.S6A and not standing.archived:
        what = "Its original is neither here nor in archive/."
        yield Finding(Rule.ONE_PLACE, place, what, "Start batchd: the result is published; keep it safe.")


def _audit_status(standing: Standing) -> Iterator[Finding]:
    """Counters are shown only after they are durable, so they are never ahead of the journal's."""
    if standing.counts is None:
        return
    total, completed, failed = standing.counts
    for shown in standing.shown:
        if shown.total > total or shown.completed > completed or shown.failed > failed:
            what = (
                f"It shows {shown.completed} completed and {shown.failed} failed of {shown.total} lines of "
                f"{standing.batch_id}; the journal has {completed} and {failed} of {total}."
            )
            step = "Start batchd: it writes the status anew. If this comes back, report it."
            yield Finding(Rule.COUNTERS, "status.json", what, step)
