"""Conversation: what each request of a batch gets to read, and the deal of its lines to the slots.

SUMMARY
    begin        what the journal knows, before the work
    open         the conversations of a section, as they stood
    deal         the lines of a section for its slots, by the strategy of the batch
    request_of   a line as it is sent: with what was said before it, trimmed where that is due
    answered     its answer is here, and is part of the conversation
    gave_way     its conversation was too large for the model server

    Under the other strategies a request reads itself and nothing else, and most of this does nothing.

    Where the conversations stand is entered in the journal before what depends on it is recorded, so a
    restart builds the same ones again, from the lines of our copy and the answers of the journal. `counts`
    are for the results.

DIAGNOSTICS
    Fatal: SpoolError, JournalError, as in `lines`.
    Warning: a conversation that was too large for memory, or for the window.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from batchd.core.conversation import (
    Exchange,
    Trim,
    exchange_tokens,
    is_turn,
    latest,
    prompt_tokens_max,
    ratio,
    sample_of,
    segment_lines,
    trim,
    with_history,
)
from batchd.core.fault import Category, LineFault, ModelFault
from batchd.core.fit import window_for
from batchd.core.lanes import Lanes
from batchd.core.model import Answer, Loaded
from batchd.core.naive import Naive
from batchd.core.record import Event, Group
from batchd.core.request import Endpoint, Request
from batchd.core.rules import Rules
from batchd.core.segments import Segment, Segments
from batchd.core.strategy import Strategy, strategy_of
from batchd.core.talk import TALK, Standing, Talk, answer_text, talk_of
from batchd.core.tokens import MESSAGE_TOKENS, estimate_request
from batchd.daemon.lines import Lines
from batchd.daemon.ports import Batch, Clock
from batchd.daemon.section import Section
from batchd.daemon.stock import Item


@dataclass(frozen=True, slots=True)
class _Turn:
    """A line that was read to be sent, and its place."""

    segment: Segment
    at: int


class Conversation(Lines):
    """The lines of one batch, as they are sent."""

    def __init__(self, batch: Batch, rules: Rules, clock: Clock) -> None:
        super().__init__(batch, rules)
        self._clock = clock
        self._strategy = Strategy.PREFIX
        self._talk = Talk()
        self._standing = Standing()
        self._segments: Segments | None = None  # of the section at work, where there are any
        self._section: Section | None = None
        self._done, self._live = b"", bytearray()
        self._only: frozenset[int] | None = None
        self._turns: dict[int, _Turn] = {}
        self._halved_for: Loaded | None = None

    def __repr__(self) -> str:
        return f"Conversation({self._strategy}, {self._segments})"

    def begin(self, meta: Mapping[str, str], done: bytearray, only: Sequence[int] | None) -> None:
        """The work begins. `done`: lines with an outcome. `only`: no other line is given."""
        self._strategy = strategy_of(meta)
        self._talk, self._segments = talk_of(meta), None
        self._done, self._only = bytes(done), None if only is None else frozenset(only)

    def window_tokens(self, groups: Sequence[Group]) -> int:
        """The window to ask for: of the longest request, or of the longest conversation."""
        needs = [group.window_tokens for group in groups]
        if self._strategy is Strategy.CONVERSATION:
            needs += [self._whole_tokens(group) for group in groups]
        return window_for(needs, self._rules.window_tokens_max)

    async def open(self, section: Section) -> None:
        """The conversations of this section as the journal knows them."""
        self._turns.clear()
        if self._strategy is not Strategy.CONVERSATION:
            return
        self._section = section
        self._live = section.finished
        start = section.groups[0].start
        self._standing = self._talk.sections.setdefault(start, Standing())
        segments = Segments(section.groups, section.order, self._is_done, self._standing.state)
        # A sample may have become durable without its answer, which is computed again.
        self._standing.samples = tuple(
            sample for sample in self._standing.samples if self._done[segments.index_at(sample.at)]
        )
        for segment in segments.open:
            segment.exchanges = await self._exchanges(segments, range(segment.kept, segment.end))
        self._segments = segments

    def deal(self, section: Section) -> Lanes | Naive | Segments:
        """The lines of the section for the slots that will join."""
        if self._segments is None:
            if self._strategy is Strategy.NAIVE:
                return Naive(section.groups, section.order, section.taken())
            return Lanes(section.groups, section.order, section.taken(), 0)

        def is_stuck(index: int) -> bool:
            is_left_out = self._only is not None and index not in self._only
            return is_left_out or index in section.too_long or index in section.suspects

        self._segments.deal(set(section.again), is_stuck, self._size)
        return self._segments

    async def request_of(self, item: Item, loaded: Loaded) -> Request | LineFault:
        """The line as it is sent."""
        request = await self.read_item(item)
        found = None if self._segments is None else self._segments.find(item.index)
        if found is None or isinstance(request, LineFault) or not is_turn(request):
            return request
        segment, place = found
        if place == segment.at:
            self._fit(segment, request, loaded)
        self._turns[item.index] = _Turn(segment, place)
        return with_history(request, segment.said(place))

    def answered(self, index: int, sent: Request, answer: Answer) -> None:
        """Part of its conversation from now on. Before the answer is recorded."""
        turn = self._turns.pop(index, None)
        if turn is None:
            return
        segment, counts = turn.segment, self._talk.counts
        is_first = not segment.said(turn.at) and segment.trimmed == segment.begin
        counts["conversations"] += is_first
        counts["longest"] = max(counts["longest"], turn.at - segment.begin + 1)
        segment.add(Exchange(turn.at, sent.messages[-1].text, answer.text))
        samples = (*self._standing.samples, sample_of(turn.at, sent, answer.usage))
        self._standing.samples = latest(samples)
        self._note()

    def gave_way(self, index: int, fault: ModelFault, loaded: Loaded) -> bool:
        """After a fault of this line. True: too much was sent before it, and it is sent again without."""
        turn = self._turns.pop(index, None)
        if turn is None:
            return False
        if fault.category is Category.OOM:
            self._halve(turn.segment, fault, loaded)
            return False
        if fault.category is not Category.CONTEXT_LENGTH or not turn.segment.said(turn.at):
            return False
        self._trim(turn.segment, Trim(0, "the model server found the prompt too long"))
        return True

    def _is_done(self, index: int) -> bool:
        if self._only is None:
            return bool(self._live[index])
        # In a pilot every line that is not of it looks finished.
        return bool(self._done[index]) or (index in self._only and bool(self._live[index]))

    async def _exchanges(self, segments: Segments, places: range) -> list[Exchange]:
        """What was asked and answered there."""
        indices = [segments.index_at(place) for place in places]
        journal = self._batch.journal

        def read() -> list[Exchange]:
            lines = journal.read_answers(indices)
            found = []
            for place, index, row in zip(places, indices, journal.read_lines(indices), strict=True):
                request = self.read(row) if index in lines else None
                if isinstance(request, Request) and is_turn(request):
                    found.append(Exchange(place, request.messages[-1].text, answer_text(lines[index])))
            return found

        return await asyncio.to_thread(read)

    def _fit(self, segment: Segment, request: Request, loaded: Loaded) -> None:
        """End the conversation where it has its size, and trim it where that is due."""
        size = self._size(segment.group, segment.at)
        if segment.at - segment.begin >= size:
            self._log(
                "segment_ended",
                segment.at - segment.begin,
                size,
                "a segment holds so many requests now",
            )
            self._begin_anew(segment)
            return
        said = segment.said(segment.at)
        scale = ratio(self._standing.samples)
        alone = estimate_request(request) * scale
        cut = trim(
            said,
            alone,
            sum(exchange.at >= segment.trimmed for exchange in said),
            prompt_tokens_max(_usable(loaded), alone, request.completion_tokens_max, self._rules.habits),
            scale,
            self._rules.habits,
        )
        if cut is not None:
            self._trim(segment, cut)

    def _size(self, group: int, at: int) -> int:
        """Requests of a segment of this group, by what was measured before this place."""
        assert self._section is not None, "it was opened"
        found = self._section.groups[group]
        # A segment may go on in the slot of another server.
        windows = [_usable(loaded) for loaded in self._section.loads.values()]
        samples = [
            sample
            for sample in self._standing.samples
            if found.start <= sample.at < min(at, found.start + found.count)
        ]
        lines = segment_lines(
            min(windows, default=self._section.load.window_tokens),
            found.prefix_tokens * ratio(samples),
            exchange_tokens(samples, _exchange_tokens(found)),
            self._rules.habits.margin,
        )
        return max(1, lines >> self._standing.halvings)

    def _whole_tokens(self, group: Group) -> int:
        """The window in which the whole chat is one segment, as far as it is allowed."""
        exchanges = group.count * _exchange_tokens(group)
        whole = group.prefix_tokens + math.ceil(exchanges / self._rules.habits.margin)
        return min(whole, self._rules.window_tokens_max) if group.endpoint == Endpoint.CHAT else 0

    def _trim(self, segment: Segment, cut: Trim) -> None:
        said, counts = segment.said(segment.at), self._talk.counts
        kept = said[len(said) - cut.kept :]
        segment.kept = kept[0].at if kept else segment.at
        segment.trimmed = segment.at
        segment.exchanges = [exchange for exchange in segment.exchanges if exchange.at >= segment.kept]
        dropped = said[: len(said) - cut.kept]
        tokens = sum(exchange.tokens for exchange in dropped)
        counts["trims"] += 1
        counts["kept_exchanges"] += len(kept)
        counts["dropped_exchanges"] += len(dropped)
        counts["dropped_tokens"] += tokens
        cause = f"{cut.cause}; {len(dropped)} exchanges of some {tokens} tokens went"
        self._log("conversation_trimmed", len(said), len(kept), cause)
        self._note()

    def _halve(self, segment: Segment, fault: ModelFault, loaded: Loaded) -> None:
        """Smaller segments from now on; this line begins one. Several lines of one death are one reason."""
        if not fault.is_server_lost or loaded is not self._halved_for:
            self._halved_for = loaded
            old = self._size(segment.group, segment.at)
            self._standing.halvings += 1
            self._talk.counts["halvings"] += 1
            new = self._size(segment.group, segment.at)
            self._log("segment_halved", old, new, "the model server was out of memory")
        self._begin_anew(segment)

    def _begin_anew(self, segment: Segment) -> None:
        assert self._segments is not None, "there are conversations"
        self._segments.begin_anew(segment)
        self._note()

    def _log(self, name: str, old: int, new: int, cause: str) -> None:
        batch_id = self._batch.id
        logger.bind(event="conversation", batch_id=batch_id).info(
            "{}: {}: {} -> {}, because {}", batch_id, name, old, new, cause
        )
        self._batch.journal.log_event(Event(self._clock.now(), name, str(old), str(new), cause))

    def _note(self) -> None:
        assert self._segments is not None, "there are conversations"
        self._standing.state = self._segments.state
        self._batch.journal.note(TALK, self._talk.to_meta())


def _exchange_tokens(group: Group) -> int:
    """Of the longest question with its bound and the marks around its answer, estimated."""
    return group.window_tokens - group.prefix_tokens + MESSAGE_TOKENS


def _usable(loaded: Loaded) -> int:
    """The part of a window that the model was made for."""
    return min(loaded.window_tokens, loaded.window_tokens_max or loaded.window_tokens)
