"""Lanes: which request each slot works on next.

SUMMARY
    A prefix cache belongs to one slot, and slots share nothing, as far as one knows beforehand. So a slot
    works through runs of requests that begin alike, as the deal says (`core/deal`). When a slot has nothing
    left, what is pending is dealt anew; where to help costs more than to idle, it rests.

    What is thought of the slots is what was sent to them, corrected by what comes back: by the rates so far;
    by a beginning that is read again though its slot has just answered a request with it, which counts for
    nothing from then on, as all do before any was found; and by what the server is seen to bring into any
    slot (`core/kept`), which costs nothing.

    The slots are those of the servers at work. A server joins with empty ones and leaves with them; what it
    had not sent is dealt to the others. To deal much takes seconds, so a large deal is made apart: `due` says
    that one is, and hands out what computes it, which may run in another thread while nothing is taken;
    `adopt` takes it over, unless servers came or went meanwhile. `take` makes only small ones.

DIAGNOSTICS
    Bug: asking for a slot that does not exist.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from batchd.core.deal import Ground, Piece, Queues, ground_of
from batchd.core.dealer import Dealer, Dealt
from batchd.core.ideal import HIT_SHARE, TELLING_TOKENS, is_cold
from batchd.core.kept import Kept
from batchd.core.model import Usage
from batchd.core.record import Group

#: Before anything was measured: an answer of 50 tokens takes as long as to read a thousand.
ANSWER_TOKENS = 1_000.0

#: Answers that the measured rates are believed from.
_ANSWERS_MIN = 4

#: Rates that differ more than this from those of the deal are a reason to deal again.
_RATES_RATIO = 2.0

#: Pieces times slots: up to here a deal takes a millisecond, beyond it up to seconds.
_DEAL_FEW = 256

#: So many times in a row the beginning was not in the slot that must have it: it will not be.
MISSES_MAX = 4


@dataclass(frozen=True, slots=True)
class Pick:
    """A line to send. `run` is for `learn` and `may_help`, `at` its place in the order of work."""

    index: int
    run: int
    at: int


@dataclass(frozen=True, slots=True)
class NoReuse:
    """A beginning that its slot never had: what was expected there, estimated, and what was found at most."""

    expected_tokens: int
    cached_tokens: int


class Lanes:
    """The pending lines of some groups, dealt out to slots. A cursor: what it gave is not given again."""

    def __init__(self, groups: Sequence[Group], order: "array[int]", finished: bytearray, slots: int) -> None:
        self._pending = array("I")
        prefix, shared = array("I"), array("I")
        pieces: list[Piece] = []
        common = 0
        for group in groups:
            start = len(self._pending)
            lines = order[group.start : group.start + group.count]
            self._pending.extend(index for index in lines if not finished[index])
            common = min(common, group.shared_tokens)
            if len(self._pending) > start:
                pieces.append((len(prefix), start, len(self._pending)))
                prefix.append(group.prefix_tokens)
                shared.append(common)
                common = group.prefix_tokens
        self._ground = ground_of(prefix, shared, ANSWER_TOKENS)
        self._left = len(self._pending)
        self._loose = pieces  # that no slot has
        self._sent: list[int] = []  # the run that each slot took last
        self._answered: list[int] = []
        self._queues: Queues = []
        self._gone: set[int] = set()  # slots whose server has left
        self._is_changed = False  # other slots than those of the deal are there
        self._turn = 0  # grows with all that makes a deal void that is being made
        self._servers = 0
        self._answer_tokens = self._dealt_with = ANSWER_TOKENS
        self._rests_at: dict[int, int] = {}  # slot: what was left when it was better to rest
        self._misses: dict[int, list[int]] = {}  # run: tokens found in its slot, while they are too few
        self._has_hit = False
        self._kept = Kept(len(prefix))
        self._read_s = self._read_tokens = self._answer_s = 0.0
        self._answers = 0
        if slots:
            self.join(slots)

    def __repr__(self) -> str:
        return f"Lanes({self._left} left, {[sum(b - a for _, a, b in queue) for queue in self._queues]})"

    @property
    def left(self) -> int:
        """Lines that were not given yet."""
        return self._left

    @property
    def slot_count(self) -> int:
        """Slot numbers so far; those that are not in use any more too."""
        return len(self._sent)

    def join(self, count: int) -> list[int]:
        """A server comes with so many slots, which hold nothing; their numbers."""
        is_first = len(self._gone) == len(self._sent)
        joined = sorted(self._gone)[:count]
        joined += range(len(self._sent), len(self._sent) + count - len(joined))
        self._gone.difference_update(joined)
        for slot in joined:
            if slot == len(self._sent):
                self._sent.append(-1)
                self._answered.append(-1)
                self._queues.append([])
            self._sent[slot] = self._answered[slot] = -1
        self._count_servers(1)
        self._turn += 1
        self._is_changed = not is_first
        if is_first and not self._is_large():
            self._dealt_with = self._ground.answer_tokens
            self._queues = self._apart(joined[0], [0] * len(self._sent))().queues or self._queues
            self._loose = []
        return joined

    def leave(self, slots: Sequence[int], unsent: Sequence[Pick] = ()) -> None:
        """A server goes: what its slots had, and what was given to them and not sent, is for the others."""
        self._gone.update(slots)
        self._turn += 1
        for slot in slots:
            self._loose += self._queues[slot]
            self._queues[slot] = []
        for pick in unsent:
            self.give_back(pick)
        self._rests_at.clear()
        self._kept.forget()
        self._count_servers(-1)

    def give_back(self, pick: Pick) -> None:
        """It was given, and not sent."""
        self._loose.append((pick.run, pick.at, pick.at + 1))
        self._turn += 1
        self._left += 1

    def take(self, slot: int, ahead: Sequence[int]) -> Pick | None:
        """The next line for this slot; None when nothing is pending, or others do the rest with less work.

        `ahead`: lines that were given to each slot and have no answer yet.
        """
        if self._is_due(slot):
            if self._is_large():
                return None
            self.adopt(self._apart(slot, ahead)())
        queue = self._queues[slot]
        if not queue:
            return None
        at = bisect_left(queue, (self._sent[slot], 0, 0))
        if at == len(queue) or queue[at][0] != self._sent[slot]:
            at = 0
        run, start, end = queue[at]
        if start + 1 < end:
            queue[at] = (run, start + 1, end)
        else:
            del queue[at]
        self._left -= 1
        self._sent[slot] = run
        return Pick(self._pending[start], run, start)

    def may_help(self, slot: int, run: int, count: int) -> bool:
        """Whether this slot shall do half of `count` lines of this run, which are another's already."""
        unread = self._ground.unread(self._sent[slot], run)
        return unread <= self._ground.answer_tokens * count / 2

    def learn(self, slot: int, run: int, usage: Usage) -> NoReuse | None:
        """What the engine said of an answer in this slot; the fault in our picture that this shows, once."""
        before, self._answered[slot] = self._answered[slot], run
        self._measure(usage)
        expected = self._ground.prefix[run]
        if not usage.is_counted or expected < TELLING_TOKENS:
            return None
        cached = usage.cached_tokens or 0
        if before != run:
            self._came(before, run, cached)
            return None
        if not is_cold(cached, expected):
            self._has_hit = True
            self._misses.pop(run, None)
            return None
        misses = self._misses.setdefault(run, [])
        misses.append(cached)
        if len(misses) < MISSES_MAX:
            return None
        self._forget(run)
        return NoReuse(expected, max(misses))

    def _came(self, before: int, run: int, cached: int) -> None:
        """A run in a slot that had another one: whether the server brought its beginning there."""
        if self._servers > 1:
            return  # nobody knows whose
        prefix = self._ground.prefix[run]
        is_telling = self._ground.common(before, run) <= prefix * HIT_SHARE / 2
        self._kept.came(run, not is_cold(cached, prefix) if is_telling else None)
        if bool(self._kept.runs) != bool(self._ground.kept):
            self._move_to(replace(self._ground, kept=self._kept.runs))

    def _is_outdated(self) -> bool:
        """Whether the rates are others than those that the deal was made with."""
        return not 1 / _RATES_RATIO <= self._ground.answer_tokens / self._dealt_with <= _RATES_RATIO

    def due(self, slots: Sequence[int], ahead: Sequence[int]) -> Callable[[], Dealt] | None:
        """What makes the large deal that one of these slots waits for; None where none does.

        Nothing is taken until it has run and was adopted.
        """
        slot = next(filter(self._is_due, slots), None) if self._is_large() else None
        return None if slot is None else self._apart(slot, tuple(ahead))

    def adopt(self, dealt: Dealt) -> None:
        """Of no account where servers came or went since: then another one is due."""
        if dealt.turn != self._turn:
            return
        if dealt.answer_tokens is not None:
            self._is_changed, self._dealt_with = False, dealt.answer_tokens
        if dealt.queues is not None:
            self._queues, self._loose = dealt.queues, []
        if not self._queues[dealt.slot]:
            self._rests_at[dealt.slot] = dealt.left

    def _is_due(self, slot: int) -> bool:
        if not self._left or (self._queues[slot] and not self._is_outdated()):
            return False
        # As the rest gets less, helping pays ever less: it is enough to ask again now and then.
        return self._is_anew() or 2 * self._left <= self._rests_at.get(slot, 2 * self._left)

    def _is_anew(self) -> bool:  # the deal that there is was made for something else
        return bool(self._loose) or self._is_changed or self._is_outdated()

    def _is_large(self) -> bool:
        pieces = len(self._loose) + sum(map(len, self._queues))
        return pieces * len(self._sent) > _DEAL_FEW

    def _apart(self, slot: int, ahead: Sequence[int]) -> Callable[[], Dealt]:
        """The deal that this slot waits for, from what is true now."""
        # Servers of different speeds leave more than the last bit: no single move makes that good.
        is_whole = self._is_anew() or self._servers > 1
        sent = tuple(self._sent)
        now = Dealer(self._ground, list(self._queues), self._loose, self._used(), sent, tuple(ahead))
        return partial(now.dealt if is_whole else now.improved, slot, self._left, self._turn)

    def _used(self) -> list[int]:
        return [slot for slot in range(len(self._sent)) if slot not in self._gone]

    def _count_servers(self, more: int) -> None:
        """Several servers read side by side: beside that, an answer counts for more."""
        self._servers += more
        answer_tokens = self._answer_tokens * max(1, self._servers)
        self._ground = replace(self._ground, answer_tokens=answer_tokens)

    def _measure(self, usage: Usage) -> None:
        if usage.prefill_s is None or usage.decode_s is None or (read := usage.evaluated_tokens) is None:
            return
        self._answers += 1
        self._read_s += usage.prefill_s
        self._read_tokens += read
        self._answer_s += usage.decode_s
        if self._answers >= _ANSWERS_MIN and self._read_s > 0:
            # More than nothing, so that two rates have a ratio.
            self._answer_tokens = max(1.0, self._answer_s / self._answers * self._read_tokens / self._read_s)
            self._count_servers(0)

    def _forget(self, run: int) -> None:
        """To read this beginning again costs nothing more than it costs anyway."""
        # A deal may be made from the old ground just now.
        prefix, shared = self._ground.prefix[:], self._ground.shared[:]
        for number in [run] if self._has_hit else range(len(prefix)):
            prefix[number] = shared[number] = 0
            if number + 1 < len(shared):
                shared[number + 1] = 0
        kept = self._ground.kept
        self._move_to(replace(ground_of(prefix, shared, self._ground.answer_tokens), kept=kept))

    def _move_to(self, ground: Ground) -> None:
        """On another ground, the deal is no good any more."""
        self._ground, self._dealt_with, self._rests_at = ground, inf, {}
        self._turn += 1
