"""Section: the requests of a batch that run on one load of the model, and where each of them stands.

SUMMARY
    Bookkeeping without waiting: which lines are finished, which wait for another attempt, which are suspects,
    which need a larger window. The servers that work on it move lines between these places.

DIAGNOSTICS
    None: plain memory; the journal is the truth.
"""

import heapq
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchd.core.fault import ModelFault
from batchd.core.fit import refit, window_for
from batchd.core.model import Load, Loaded
from batchd.core.overflow import WINDOW_SLACK_TOKENS
from batchd.core.record import Group
from batchd.core.request import Request
from batchd.core.retry import CRASHES_MAX, Decision, Next, Trial
from batchd.daemon.suspects import Company, Suspects

#: Lines that are looked at together: of some thousand it takes some tens of microseconds.
_LOOKED_AT = 4_096


class Queue:
    """Lines that wait for their moment, the earliest first; late ones wait for all others, too."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._late: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._late)

    def __iter__(self) -> Iterator[int]:
        return (index for heap in (self._heap, self._late) for _, index in heap)

    def put(self, index: int, due: float, is_late: bool = False) -> None:
        """This line, from that moment on."""
        heapq.heappush(self._late if is_late else self._heap, (due, index))

    def take(
        self, now: float, fits: Callable[[int], bool] = lambda index: True, may_be_late: bool = True
    ) -> int | None:
        """A line whose wait is over, and that this server can hold."""
        found = _taken(self._heap, now, fits)
        return _taken(self._late, now, fits) if found is None and may_be_late else found

    def left_s(self, now: float) -> float:
        """Seconds until the next one is due; 0 when there is none."""
        return max(0.0, min((heap[0][0] for heap in (self._heap, self._late) if heap), default=now) - now)


def _taken(heap: list[tuple[float, int]], now: float, fits: Callable[[int], bool]) -> int | None:
    passed: list[tuple[float, int]] = []
    found = None
    while found is None and heap and heap[0][0] <= now:
        entry = heapq.heappop(heap)
        if fits(entry[1]):
            found = entry[1]
        else:
            passed.append(entry)
    for entry in passed:
        heapq.heappush(heap, entry)
    return found


@dataclass(slots=True)
class Section:
    """Groups that share a load, and the lines of them that left the plan's order.

    `servers` take part, `at_work` of them hold lines now, and `loads` is what each has. Lines with `needs`
    are longer than the window that one of the servers can give. `spared` counts how often a line came back
    uncharged, since it was last charged.
    """

    load: Load
    groups: Sequence[Group]
    order: "array[int]"
    finished: bytearray
    counts: dict[int, tuple[int, int]]  # line -> (attempts, crashes), only of those that failed before
    again: Queue = field(default_factory=Queue)
    suspects: Suspects = field(default_factory=Suspects)
    too_long: list[int] = field(default_factory=list)
    window_needed: int = 0
    loads: dict[int, Loaded] = field(default_factory=dict)
    needs: dict[int, int] = field(default_factory=dict)
    spared: dict[int, int] = field(default_factory=dict)
    servers: int = 0
    at_work: int = 0
    passed_groups: int = 0  # known to be finished, and so many lines of the one behind them
    passed_lines: int = 0

    def __repr__(self) -> str:
        return (
            f"Section({self.load.model}, window {self.load.window_tokens}: {self.pending_count()} pending, "
            f"{len(self.again)} again, {len(self.suspects)} suspects, {len(self.too_long)} too long)"
        )

    def indices(self) -> Sequence[int]:
        """Every line of the section, in the order of work."""
        return [
            index
            for group in self.groups
            for index in self.order[group.start : group.start + group.count]
            if not self.finished[index]
        ]

    def window_tokens_min(self) -> int:
        """The window that the shortest request needs: in a smaller one nothing could run."""
        needs = (group.window_tokens_min or group.window_tokens for group in self.groups)
        return min(window_for([need], self.load.window_tokens) for need in needs)

    def pending_count(self) -> int:
        """Lines without an outcome."""
        return sum(
            group.count - sum(map(self.finished.__getitem__, self._lines(group.start, group.count)))
            for group in self.groups
        )

    def is_done(self) -> bool:
        """Whether every line has its outcome. What was found finished is not looked at again."""
        while self.passed_groups < len(self.groups):
            group = self.groups[self.passed_groups]
            while self.passed_lines < group.count:
                count = min(_LOOKED_AT, group.count - self.passed_lines)
                block = self._lines(group.start + self.passed_lines, count)
                if not all(map(self.finished.__getitem__, block)):
                    return False
                self.passed_lines += count
            self.passed_groups, self.passed_lines = self.passed_groups + 1, 0
        return True

    def _lines(self, start: int, count: int) -> "array[int]":
        return self.order[start : start + count]

    def adopt_suspects(self, attempts: Mapping[int, tuple[int, int]]) -> None:
        """After a restart of the daemon: lines that were held at a death of the server are tried first."""
        company = []
        for index in self.indices():
            if index in attempts:
                self.counts[index] = attempts[index]
                if attempts[index][1] == 1:
                    company.append(index)
                elif attempts[index][1]:  # the server died under it alone
                    self.suspects.put([index])
        self.suspects.put(company)

    def is_last_trial(self, company: Company) -> bool:
        """Whether another death under it would be the last: it is tried at the smallest chunk there is."""
        [first, *others] = company.members
        return not others and self.counts.get(first, (0, 0))[1] >= CRASHES_MAX - 1

    def trial(
        self,
        index: int,
        request: Request,
        fault: ModelFault,
        loaded: Loaded,
        asked_tokens: int,
        window_tokens_max: int,
        is_alone: bool = False,
    ) -> Trial:
        """What is known of a failed attempt. `asked_tokens`: the window that its server was asked for;
        `window_tokens_max`: the operator's; the model's may be less."""
        attempts, crashes = self.counts.get(index, (0, 0))
        largest = self._largest(loaded, window_tokens_max)
        bound = request.completion_tokens_max
        if bound:  # room for the tokens before the end of the window that the engine leaves unused
            bound = max(bound, min(bound + WINDOW_SLACK_TOKENS, largest - (fault.prompt_tokens or 0)))
        # A window that was asked for once is not asked for again, whatever the server made of it.
        window = max(fault.window_tokens or 0, loaded.window_tokens, asked_tokens)
        return Trial(attempts, crashes, bound, window, largest, is_alone, self.spared.get(index, 0))

    def put_off(
        self,
        index: int,
        prompt_tokens: int,
        bound_tokens: int,
        loaded: Loaded,
        asked_tokens: int,
        window_tokens_max: int,
    ) -> bool:
        """Whether this line waits for a larger window, because it will not fit into the present one."""
        largest = self._largest(loaded, window_tokens_max)
        window = refit(prompt_tokens, bound_tokens, loaded.window_tokens, largest)
        if window is None or loaded.window_tokens < asked_tokens:  # what is not given is not asked twice
            return False
        self.too_long.append(index)
        self.window_needed = max(self.window_needed, window)
        return True

    def leave_to_others(
        self, index: int, prompt_tokens: int, bound_tokens: int, loaded: Loaded, now: float
    ) -> bool:
        """Whether another server has more room for this line than one can give: then it waits for that."""
        most = max((item.window_tokens for item in self.loads.values()), default=0)
        if refit(prompt_tokens, bound_tokens, loaded.window_tokens, most) is None:
            return False
        self.needs[index] = min(prompt_tokens + bound_tokens, most)
        self._put(index, now)
        return True

    def fits(self, index: int, loaded: Loaded) -> bool:
        """Whether this line is for a server with this load: it is, too, where nobody has a larger one."""
        need = self.needs.get(index, 0)
        return need <= loaded.window_tokens or all(item.window_tokens < need for item in self.loads.values())

    def place(self, index: int, decision: Decision, now: float) -> None:
        """Put a line where the decision says."""
        is_spared = decision.next is Next.AGAIN and self.counts.get(index, (0, 0))[0] == decision.attempts
        self.spared[index] = self.spared.get(index, 0) + 1 if is_spared else 0
        self.counts[index] = (decision.attempts, decision.crashes)
        match decision.next:
            case Next.AGAIN:
                self._put(index, now + decision.wait_s, decision.is_late)
            case Next.SUSPECT:
                self.suspects.note(index, decision.is_late)
            case Next.REFIT:
                self.too_long.append(index)
                self.window_needed = max(self.window_needed, decision.window_tokens)
            case Next.GIVE_UP:
                del self.counts[index], self.spared[index]

    def requeue(self, index: int, now: float) -> None:
        """An attempt that was called off: it may be sent again at once and costs nothing."""
        self._put(index, now)

    def taken(self) -> bytearray:
        """One byte for each line: 1 where the plan's order must not give it any more."""
        given = bytearray(self.finished)
        for index in (*self.suspects, *self.again, *self.too_long):
            given[index] = 1
        return given

    def widen(self, now: float) -> int:
        """Ask for the window that the longest of those need who wait for one; how many they are."""
        if self.window_needed > self.load.window_tokens:
            self.load = replace(self.load, window_tokens=self.window_needed)
        count, indices, self.too_long = len(self.too_long), self.too_long, []
        for index in indices:
            self._put(index, now)
        return count

    def _largest(self, loaded: Loaded, window_tokens_max: int) -> int:
        """The largest window that operator, model and memory of any server allow."""
        return max(_largest(item, window_tokens_max) for item in (loaded, *self.loads.values()))

    def _put(self, index: int, due: float, is_late: bool = False) -> None:
        # Whatever else befalls a suspect, it stays one until it has its outcome.
        if self.counts.get(index, (0, 0))[1] > 0:
            self.suspects.put([index], due)
        else:
            self.again.put(index, due, is_late)


def _largest(loaded: Loaded, window_tokens_max: int) -> int:
    """The largest window that operator, model and memory allow."""
    return min(
        window_tokens_max,
        loaded.window_tokens_max or window_tokens_max,
        loaded.memory_window_tokens_max or window_tokens_max,
    )
