"""Breaker: do most recent requests of a batch fail alike?

SUMMARY
    Failures are alike when they have the same category and the same code. When they are most of the latest
    requests, nothing is wrong with the requests: the model was removed, its template is wrong, the server
    answers nonsense. Then the batch shall pause instead of failing all the others.

    A failure is held back, not recorded, as long as it is among the latest. It is let go, to be recorded,
    when enough others came after it. When the breaker trips, those that are held are what a resumed batch
    tries again, so a pause has cost nobody an answer.

    Whoever resumes a batch and meets the same failures may want exactly that: each trip for one kind of
    failure doubles how many of it are borne before the next, so 170,000 bad requests take 14 pauses at most.

DIAGNOSTICS
    None: values in, decisions out.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps, loads

#: The latest requests that are looked at. Enough that an unlucky row of bad requests in a good batch is not
#: taken for an epidemic, few enough that their work is no loss.
WINDOW = 20

#: How many of them must have failed alike. Two may be otherwise: answers that were on their way when the
#: trouble began.
ALIKE_MIN = 18

#: What the submitter must mend, line by line, and what somebody ordered.
NOT_COUNTED = frozenset({Category.VALIDATION, Category.CONTEXT_LENGTH, Category.EXPIRED, Category.CANCELLED})

#: What says nothing of the model server: it answered. These wait as other failures do, but stop nothing, for
#: a batch of answers that are no good is what the pilot is for.
NOT_ALIKE = frozenset({Category.INVALID_ANSWER})

#: A text that stands in the status is read at a glance.
_MESSAGE_CHARS_MAX = 120

#: Doubling more often than this would outgrow the largest batch.
_TRIPS_MAX = 20

#: The meta value of the journal that keeps the trips.
TRIPS = "breaker"

_T = TypeVar("_T")


class Kind(NamedTuple):
    """What makes two failures alike."""

    category: Category
    code: str

    def __str__(self) -> str:
        return self.category.value if self.code in ("", self.category.value) else self.code


def kind_of(fault: ModelFault) -> Kind:
    """Texts differ from request to request; the code does not."""
    return Kind(fault.category, fault.code or "")


@dataclass(frozen=True, slots=True)
class Trip:
    """The batch shall pause. `reason` has no full stop at its end."""

    kind: Kind
    reason: str


class Breaker(Generic[_T]):
    """Watches the outcomes of one batch. `trips` counts earlier pauses by kind, as `trips_of` reads them."""

    def __init__(self, trips: Mapping[str, int]) -> None:
        self._trips = Counter(trips)
        self._latest: deque[tuple[Kind | None, _T | None]] = deque()
        self._borne: Counter[Kind] = Counter()

    def __repr__(self) -> str:
        failed = sum(kind is not None for kind, _ in self._latest)
        return f"<Breaker: {failed} of the last {len(self._latest)} failed>"

    def succeeded(self) -> list[_T]:
        """A request was answered. The failures that are let go."""
        return self._add(None, None)

    def failed(self, fault: ModelFault, item: _T) -> tuple[list[_T], Trip | None]:
        """A request failed for good. The failures that are let go (this one, where it does not count), and
        whether that was one too many."""
        if fault.category in NOT_COUNTED:
            return [item], None
        kind = kind_of(fault)
        self._borne[kind] += 1
        released = self._add(kind, item)
        alike = sum(other == kind for other, _ in self._latest)
        if fault.category in NOT_ALIKE:
            return released, None
        is_epidemic = len(self._latest) == WINDOW and alike >= ALIKE_MIN
        if not is_epidemic or self._borne[kind] < self._patience(kind):
            return released, None
        return released, self._trip(kind, fault, alike)

    def let_go(self) -> list[_T]:
        """All that is held, the oldest first; the window begins anew."""
        held = [item for kind, item in self._latest if kind is not None and item is not None]
        self._latest.clear()
        return held

    def to_meta(self) -> str:
        """The trips, as the journal keeps them."""
        return dumps(self._trips).decode()

    def _patience(self, kind: Kind) -> int:
        """Failures of this kind that are borne before a trip, since the batch was resumed."""
        before = min(self._trips[str(kind)], _TRIPS_MAX)
        return WINDOW * 2**before if before else 0

    def _add(self, kind: Kind | None, item: _T | None) -> list[_T]:
        self._latest.append((kind, item))
        if len(self._latest) <= WINDOW:
            return []
        _, oldest = self._latest.popleft()
        return [] if oldest is None else [oldest]

    def _trip(self, kind: Kind, fault: ModelFault, alike: int) -> Trip:
        self._trips[str(kind)] += 1
        self._borne.clear()
        reason = f"{alike} of the last {WINDOW} requests failed alike: {kind}"
        # What a runaway said is the text of an answer, and no text for a status.
        told = "" if fault.category is Category.RUNAWAY else fault.told[:_MESSAGE_CHARS_MAX].rstrip(". ")
        return Trip(kind, f"{reason} ({told})" if told else reason)


def refusal(fault: ModelFault) -> str:
    """Why a batch pauses whose model cannot be had at all."""
    return fault.told[:_MESSAGE_CHARS_MAX].rstrip(". ")


def trips_of(meta: Mapping[str, str]) -> Mapping[str, int]:
    """Earlier trips of this batch."""
    kept: Any = loads(meta.get(TRIPS, "{}").encode())
    return {str(kind): int(count) for kind, count in kept.items()}
