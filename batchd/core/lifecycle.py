"""The life of a batch: one table of the only possible states.

SUMMARY
    A file is in exactly one place, and its place is its state. This file holds every state that a crash can
    leave, and nothing else decides what a directory in `processing/` means.

         inbox  processing       journal phase   outbox  archive
    S1     +        -                 -             -       -      submitted
    S1a    +     empty directory      -             -       -      claim begun: remove it
    S2     -     orig/                -             -       -      claimed: at that rename the batch is ours
    S2a    -     + copy, journal   no phase         -       -      intake begun: delete both, again from orig/
    S3     -     + copy, journal   ready            -       -      accepted: every line parsed or faulted
    S4     -        +              in_progress      -       -      answers arrive, each durable on its own
    S4a    -     + publish/        in_progress      -       -      assembly begun: delete publish/, again
    S5     -     + publish/        publishing       -       -      complete; name and hash durable
    S6     -     no publish/       publishing      +/-      -      published at that rename
    S6a    -     no publish/       publishing      +/-      +      original archived
    S7     -     .trash-<id>          -            +/-      +      done at that rename; deletion may repeat

    In `publishing`, an absent `publish/` is the proof of publication: the collector may have taken the
    result already, so the outbox is never asked. In S5 the hash is compared before the rename; where a disk
    made something else of publish/, the phase goes back to `in_progress`, and that is S4a.

DIAGNOSTICS
    Bug: `state_of` raises UnknownStateError for a directory that no row describes. It is our bug or a
    person's hand; recovery says so and stops rather than guess.
"""

from dataclasses import dataclass
from enum import StrEnum

from batchd.errors import SpoolError


class Phase(StrEnum):
    """The journal's own word for how far the batch is."""

    READY = "ready"
    IN_PROGRESS = "in_progress"
    PUBLISHING = "publishing"


class State(StrEnum):
    """A row of the table, for what stands in `processing/`."""

    S1A = "S1a"
    S2 = "S2"
    S2A = "S2a"
    S3 = "S3"
    S4 = "S4"
    S4A = "S4a"
    S5 = "S5"
    S6 = "S6"
    S6A = "S6a"


@dataclass(frozen=True, slots=True)
class Place:
    """What a directory in `processing/` holds. `has_original` is whether orig/ holds the batch file."""

    has_original: bool
    has_copy: bool
    has_journal: bool
    has_publish: bool


class UnknownStateError(SpoolError):
    """A directory that no row of the table describes."""


#: (has_original, has_copy, has_journal, has_publish, phase) -> state. A copy without a journal, or a journal
#: without a phase, is one row: intake was killed at any moment of its own.
_TABLE: dict[tuple[bool, bool, bool, bool, Phase | None], State] = {
    (False, False, False, False, None): State.S1A,
    (True, False, False, False, None): State.S2,
    (True, True, False, False, None): State.S2A,
    (True, True, True, False, None): State.S2A,
    (True, False, True, False, None): State.S2A,
    (True, True, True, False, Phase.READY): State.S3,
    (True, True, True, False, Phase.IN_PROGRESS): State.S4,
    (True, True, True, True, Phase.IN_PROGRESS): State.S4A,
    (True, True, True, True, Phase.PUBLISHING): State.S5,
    (True, True, True, False, Phase.PUBLISHING): State.S6,
    (False, True, True, False, Phase.PUBLISHING): State.S6A,
}

#: The phases a journal may go through, each to the next: (None, READY) is intake's end. One way leads back:
#: from S5 to S4a, where recovery finds that publish/ is not what was sealed.
NEXT_PHASES: dict[Phase | None, frozenset[Phase]] = {
    None: frozenset({Phase.READY}),
    Phase.READY: frozenset({Phase.IN_PROGRESS}),
    Phase.IN_PROGRESS: frozenset({Phase.PUBLISHING}),
    Phase.PUBLISHING: frozenset({Phase.IN_PROGRESS}),
}


def state_of(place: Place, phase: Phase | None) -> State:
    """The row that describes this directory. Raises UnknownStateError when there is none."""
    key = (place.has_original, place.has_copy, place.has_journal, place.has_publish, phase)
    try:
        return _TABLE[key]
    except KeyError:
        raise UnknownStateError(
            f"No batch can look like this: {place}, journal phase {phase}.",
            "Move the directory out of processing/, look at it, and start batchd again.",
        ) from None
