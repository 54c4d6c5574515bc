"""Records: the values that the journal keeps, and how one outcome changes them.

SUMMARY
    What a row means stands here, how it is packed in `core/packing`, and LMDB itself in `edges/journal`.

DIAGNOSTICS
    None: values only.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from operator import add, attrgetter

from batchd.core.curve import Curve
from batchd.core.fault import Category
from batchd.core.schema import Reason


@dataclass(slots=True)  # not frozen, as `Line`: a million are made
class LineRow:
    """Where one line stands in our copy of the input: offset and length in bytes, CRC-32 of those bytes.

    `group` is -1 for a line that is faulty, and 0 for others. `number` is that of the line in the file, from
    1; it is not the line's index plus one where blank lines were skipped.
    """

    offset: int
    length: int
    crc: int
    group: int
    number: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A line that asks what an earlier one asks, and gets its outcome under its own custom_id."""

    original: int
    custom_id: str


@dataclass(slots=True)  # not frozen, as `Line`: a million are made
class NewLine:
    """A line as intake writes it. `error_line` is the finished error line of a faulty one."""

    index: int
    row: LineRow
    error_line: bytes | None = None
    copy: Copy | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Requests of one model with the same beginning, which stand together in the plan.

    `count` requests; the tokens are estimates made at intake: of the shared beginning, of the longest request
    with its answer bound, and of the beginning that they share with the group before them.
    `window_tokens_min` is the least in which the shortest request is worth a try; 0 where that is not known.
    `start` is where their run begins in `Plan.order`. Groups of one model and endpoint with different `load`
    need windows so different that each deserves a load of its own.
    """

    model: str
    endpoint: str
    start: int
    count: int
    prefix_tokens: int
    window_tokens: int
    shared_tokens: int = 0
    load: int = 0
    window_tokens_min: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups, and the line indices in the order of work: each group is one run in `order` (array 'I').

    Copies are not in it; `copies` says how many a line has, and is kept with the lines themselves.
    """

    line_count: int
    groups: tuple[Group, ...]
    order: "array[int]"
    copies: Mapping[int, int] = field(default_factory=dict)

    def group_of(self) -> "array[int]":
        """Of each line, the number of its group; 0 too for a line that is in none."""
        found = array("I", bytes(4 * self.line_count))
        for number, group in enumerate(self.groups):
            for index in self.order[group.start : group.start + group.count]:
                found[index] = number
        return found


@dataclass(frozen=True, slots=True)
class Spent:
    """What one outcome cost, summed into the counters. Tokens as the engine counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    empty_answers: int = 0
    cut_answers: int = 0
    estimated_answers: int = 0  # of an older batchd, which summed guesses: then no sum of cached tokens holds
    unknown_answers: int = 0  # nobody knows what was cached: nothing of them is in `cached_tokens`
    cold_answers: int = 0  # the group's beginning was not in the slot, nor brought there
    deduplicated_answers: int = 0  # of copies, without those of errors
    lowered_answers: int = 0  # the largest window left less than the request's bound
    zero_answers: int = 0  # of embeddings, with a vector of nothing but zeros
    not_json_answers: int = 0  # JSON was asked for; error lines too
    broken_answers: int = 0  # JSON that breaks its schema; error lines too


@dataclass(frozen=True, slots=True)
class Share:
    """What the answers of one group, or those of one lane, have cost."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cold_answers: int = 0
    busy_s: float = 0.0

    def with_answer(self, spent: Spent) -> "Share":
        """One more."""
        return Share(
            self.answers + 1,
            self.prompt_tokens + spent.prompt_tokens,
            self.cached_tokens + spent.cached_tokens,
            self.completion_tokens + spent.completion_tokens,
            self.cold_answers + spent.cold_answers,
            self.busy_s + spent.prefill_s + spent.decode_s,
        )


@dataclass(frozen=True, slots=True)
class Shares:
    """Who did what: by group of the plan, by lane, and over time."""

    groups: Mapping[int, Share]
    lanes: Mapping[int, Share]
    pace: Curve


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came out of a damaged journal: results that were new, and whether it said what gave them."""

    results: int
    has_uses: bool


#: Lanes of one server: those of the second one begin here. More slots than this cannot be set.
LANES_EACH = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when an answer was given: the group of the plan, the lane, seconds since the epoch.

    A lane is a slot of a server: its number, and `LANES_EACH` for each server before that one.
    """

    group: int
    lane: int
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    With `line`, it is the outcome of the request: its finished result line (or error line, with the answer
    that was rejected below it, see `core/result`). Without, the attempt failed and the request will be tried
    again. `attempts` and `crashes` are the counts from now on.
    `place` is known of an answer.
    """

    index: int
    line: bytes | None
    is_error: bool = False
    category: Category | None = None
    attempts: int = 0
    crashes: int = 0
    spent: Spent = field(default_factory=Spent)
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The counters of a batch; they change in the same commit as the rows they count."""

    total: int
    completed: int
    failed: int
    spent: Spent
    faults: Mapping[str, int]  # category -> outcomes and failed attempts
    worked_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """A decision: when (seconds since the epoch), what, old and new value, the cause, and what was seen.

    `server`: whose, where there are several.
    """

    at: float
    name: str
    old: str
    new: str
    cause: str
    evidence: str = ""
    server: str = ""


#: The event of a beginning that its slot did not have: what was expected in it, and what was found.
NO_REUSE = "no_reuse"


class LineStatus(IntEnum):
    """How a line stands. The numbers are on disk: never give one a new meaning."""

    PENDING = 0
    COMPLETED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class LineState:
    """What was tried for one line; a line without such a row was never tried."""

    status: LineStatus
    attempts: int
    crashes: int
    category: Category | None


#: The fields, in order.
spent_numbers = attrgetter(*(item.name for item in fields(Spent)))
share_numbers = attrgetter(*(item.name for item in fields(Share)))
NO_SPENT = Spent()
NO_PROGRESS = Progress(0, 0, 0, NO_SPENT, {}, 0.0)


def spent_on_rejected(reason: str) -> Spent:
    """What is counted of an answer that is not what was asked for, be it an error line or given as it is."""
    return Spent(
        cut_answers=int(reason == Reason.CUT),
        not_json_answers=int(reason == Reason.NOT_JSON),
        broken_answers=int(reason == Reason.SCHEMA),
    )


def count(progress: Progress, outcome: Outcome) -> Progress:
    """The counters with this outcome in them."""
    spent = progress.spent
    if outcome.spent != NO_SPENT:
        spent = Spent(*map(add, spent_numbers(spent), spent_numbers(outcome.spent)))
    faults = progress.faults
    if outcome.category is not None:
        faults = {**faults, outcome.category: faults.get(outcome.category, 0) + 1}
    is_final = outcome.line is not None
    return replace(
        progress,
        completed=progress.completed + (is_final and not outcome.is_error),
        failed=progress.failed + (is_final and outcome.is_error),
        spent=spent,
        faults=faults,
    )


def state_after(outcome: Outcome) -> LineState:
    """How the line of this outcome stands."""
    if outcome.line is None:
        status = LineStatus.PENDING
    else:
        status = LineStatus.FAILED if outcome.is_error else LineStatus.COMPLETED
    return LineState(status, outcome.attempts, outcome.crashes, outcome.category)


def intake_outcome(new: NewLine) -> Outcome | None:
    """The outcome of a line that was faulty when it came in; None for one that will be sent."""
    if new.error_line is None:
        return None
    return Outcome(new.index, new.error_line, is_error=True, category=Category.VALIDATION)
