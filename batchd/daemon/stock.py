"""Stock: the few request lines that each slot finds ready, read and with their intents durable.

SUMMARY
    A line is sent only after the journal knows that it is about to be. Waiting for that before each request
    would leave the model idle, so the intents run ahead: a few lines for each slot are read and entered in
    one commit, while the slots still work on the ones before. That commit carries answers too.

    What a slot gets is up to the lanes. At the end, a slot whose own stock is empty takes from the fullest
    one, where to read the beginning of that group once more costs less than to idle.

    Lines are read and parsed in the thread that reads their rows, and large deals are made in one: the event
    loop has the answers to look after. A long line is read when it is sent, so that memory has a bound.

    There is one stock for all servers that work on a section: each joins with its slots, and what one that
    leaves had ready goes back to the lanes, for the others.

DIAGNOSTICS
    Fatal: JournalError from the journal.
    Warning: a beginning that the model server reads again for each request, once; it is a decision too.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loguru import logger

from batchd import failpoints
from batchd.core.dealer import Dealt
from batchd.core.fault import LineFault
from batchd.core.lanes import Lanes, Pick
from batchd.core.model import Usage
from batchd.core.naive import Naive
from batchd.core.record import NO_REUSE, Event, LineRow
from batchd.core.request import Request
from batchd.core.segments import Segments
from batchd.daemon.ports import Journal
from batchd.errors import JournalError

#: Lines that a slot has ready at most: four times the chunk in all, measured as enough that a commit of
#: 8 ms is hidden behind answers of 20 ms.
READY_LINES_MAX = 4

#: Below this a slot's stock is filled up again.
READY_LINES_LOW = 3

#: The longest that reading rows and committing intents may take before we say that the disk is gone.
INTEND_TIMEOUT_S = 120.0


#: Longer lines are not kept ready: four of 10 MB for each of 64 slots would be gigabytes.
READY_LINE_BYTES_MAX = 64 * 2**10

#: Reads what stands in a row of our copy. Blocking.
Read = Callable[[LineRow], Request | LineFault]


@dataclass(frozen=True, slots=True)
class Ready:
    """A line with its intent; `request` None: it is long, and read when it is sent."""

    row: LineRow
    request: Request | LineFault | None


def made_ready(row: LineRow, read: Read) -> Ready:
    """Blocking."""
    return Ready(row, read(row) if row.length <= READY_LINE_BYTES_MAX else None)


@dataclass(frozen=True, slots=True)
class Item:
    """A line that may be sent now. From one that left the plan's order nothing is learned about the slots."""

    index: int
    ready: Ready
    run: int = -1
    lane: int = -1
    stock: "Stock | None" = None

    @property
    def row(self) -> LineRow:
        return self.ready.row

    def learn(self, usage: Usage, now: float) -> None:
        """What the engine said of its answer."""
        if self.stock is not None:
            self.stock.learn(self.lane, self.run, usage, now)


class Stock:
    """Ready lines by lane, filled by one task. A lane is one slot of one of the servers."""

    def __init__(self, journal: Journal, lanes: Lanes | Naive | Segments, read: Read) -> None:
        self._journal = journal
        self._lanes = lanes
        self._read = read
        self._ready: dict[int, deque[tuple[Pick, Ready]]] = {}
        self._is_reading = False
        self._wanted = asyncio.Event()
        self._filled = asyncio.Event()

    def __repr__(self) -> str:
        return f"Stock({[len(ready) for ready in self._ready.values()]} ready, {self._lanes})"

    @property
    def is_exhausted(self) -> bool:
        """Nothing will become ready, unless a server leaves."""
        return not self._lanes.left and not self._is_reading

    def join(self, slots: int) -> list[int]:
        """A server comes with so many empty slots; their lanes."""
        lanes = self._lanes.join(slots)
        self._ready.update((lane, deque()) for lane in lanes)
        self._wanted.set()
        return lanes

    def leave(self, lanes: Sequence[int]) -> None:
        """It goes; what its lanes had ready was never sent."""
        self._lanes.leave(lanes, [pick for lane in lanes for pick, _ in self._ready.pop(lane)])
        self._wanted.set()

    def take(self, lane: int) -> Item | None:
        """A ready line for this lane; None when none is ready now."""
        ready = self._ready[lane]
        if not ready and self.is_exhausted:
            return self._help(lane)
        if len(ready) <= READY_LINES_LOW:
            self._wanted.set()
        return self._item(lane, *ready.popleft()) if ready else None

    def learn(self, slot: int, run: int, usage: Usage, now: float) -> None:
        """What the engine said of an answer in this slot."""
        found = self._lanes.learn(slot, run, usage)
        if found is None:
            return
        cause = "the model server does not keep the beginning of its prompts"
        logger.bind(event="no_reuse").warning(
            "nothing is reused: of {} tokens that were expected in a slot {} were found: {}",
            found.expected_tokens,
            found.cached_tokens,
            cause,
        )
        old, new = str(found.expected_tokens), str(found.cached_tokens)
        self._journal.log_event(Event(now, NO_REUSE, old, new, cause))

    async def wait(self, timeout_s: float) -> None:
        """Until something became ready, or the limit. Pointless once it is exhausted: nothing will."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._filled.wait()

    async def fill(self) -> None:
        """Keep the lanes' stock up. Runs as a task of its own, until it is cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while (deal := self._due()) is not None:
                self._lanes.adopt(await asyncio.to_thread(deal))
            picked = list(self._picked())
            if self._due() is not None:
                self._wanted.set()  # some have taken their last lines
            if picked:
                await self._make_ready(picked)
            elif self._lanes.left:
                continue  # all who want something are better off idle, and a ring would make them ask again
            # A ring for those who wait now. Left set, it would let a lane spin without ever yielding.
            self._filled.set()
            self._filled.clear()

    async def _make_ready(self, picked: Sequence[tuple[int, Pick]]) -> None:
        self._is_reading = True
        try:
            lines = await self._intend([pick.index for _, pick in picked])
        finally:
            self._is_reading = False
        for (lane, pick), line in zip(picked, lines, strict=True):
            if lane in self._ready:
                self._ready[lane].append((pick, line))
            else:
                self._lanes.give_back(pick)  # its server has left meanwhile

    def _due(self) -> Callable[[], Dealt] | None:
        """The large deal that some lane waits for."""
        ahead = self._ahead()
        return self._lanes.due([lane for lane in self._ready if ahead[lane] <= READY_LINES_MAX], ahead)

    def _ahead(self) -> list[int]:
        """By lane: its stock, and what it works on."""
        ahead = [0] * self._lanes.slot_count
        for lane, ready in self._ready.items():
            ahead[lane] = len(ready) + 1
        return ahead

    def _picked(self) -> Iterator[tuple[int, Pick]]:
        """What each lane gets now."""
        ahead = self._ahead()
        for _ in range(READY_LINES_MAX):
            for lane in self._ready:
                has_room = ahead[lane] <= READY_LINES_MAX
                if has_room and (pick := self._lanes.take(lane, ahead)) is not None:
                    ahead[lane] += 1
                    yield lane, pick

    def _help(self, lane: int) -> Item | None:
        fullest = max(self._ready.values(), key=len)
        if not fullest or not self._lanes.may_help(lane, fullest[-1][0].run, len(fullest)):
            return None
        return self._item(lane, *fullest.pop())

    def _item(self, lane: int, pick: Pick, line: Ready) -> Item:
        return Item(pick.index, line, pick.run, lane, self)

    def _lines(self, indices: Sequence[int]) -> list[Ready]:
        return [made_ready(row, self._read) for row in self._journal.read_lines(indices)]

    async def _intend(self, indices: list[int]) -> list[Ready]:
        try:
            async with asyncio.timeout(INTEND_TIMEOUT_S):
                failpoints.reach("intents.begun")
                lines = await asyncio.to_thread(self._lines, indices)
        except TimeoutError:
            raise _no_answer() from None
        intended = self._journal.intend(indices)
        while not intended.done():
            await asyncio.wait({intended}, timeout=INTEND_TIMEOUT_S)
            if not intended.done() and not self._journal.waits_for_room:
                raise _no_answer()
        intended.result()
        failpoints.reach("intents.done")
        return lines


def _no_answer() -> JournalError:
    return JournalError(
        f"The journal's disk did not answer within {INTEND_TIMEOUT_S:.0f} s.",
        "Look at the disk, and start batchd again.",
    )
