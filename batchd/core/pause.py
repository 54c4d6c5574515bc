"""A pause: why a batch waits for a person, as its journal keeps it.

SUMMARY
    A paused batch gives way to the others, and stays paused over restarts until somebody resumes it. The
    pause is the meta value `PAUSE` of the journal; an empty one says that the batch goes on.

        asked      somebody typed `batchd pause`
        breaker    most requests failed alike
        pilot      the first answers were bad, or the submitter wanted to see them first

DIAGNOSTICS
    Bug: a meta value that `to_meta` did not write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from shlex import quote
from typing import Any

from batchd.core.json import dumps, loads

#: The meta value of the journal, and what it says of a batch that is not paused.
PAUSE = "pause"
NOT_PAUSED = ""


class Cause(StrEnum):
    """Who paused it."""

    ASKED = "asked"
    BREAKER = "breaker"
    PILOT = "pilot"


@dataclass(frozen=True, slots=True)
class Pause:
    """`reason` is for people, without a full stop at its end; `at` is in seconds since the epoch."""

    cause: Cause
    reason: str
    at: float

    def to_meta(self) -> str:
        """As the journal keeps it."""
        return dumps({"cause": self.cause.value, "reason": self.reason, "at": self.at}).decode()


def pause_of(meta: Mapping[str, str]) -> Pause | None:
    """The pause of this batch; None where it goes on."""
    kept = meta.get(PAUSE, NOT_PAUSED)
    if kept == NOT_PAUSED:
        return None
    values: Any = loads(kept.encode())
    return Pause(Cause(values["cause"]), values["reason"], values["at"])


def way_on(batch_id: str, spool: str | None = None) -> str:
    """What to type, with as much of the id as tells it from others and can be copied from one line.

    `spool` is the one that was named on the command line: without it the command would look into another.
    """
    named = "" if spool is None else f" --spool {quote(spool)}"
    return f"batchd resume {batch_id[:_ID_CHARS]}{named}"


#: `batch_` and twelve digits: two of a million batches begin alike once in a thousand spools.
_ID_CHARS = 18
