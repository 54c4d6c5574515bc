"""Status: counts what became durable, and tells people about it.

SUMMARY
    Keeps a card for each batch in the house. `tick` (once a second) gives the service manager its one line
    and its ping, and logs progress: every 100 requests or every 30 s, whichever is later, so that a batch of
    170,000 does not fill the journal of the system. `show` has a thread replace status.json, and waits for no
    disk.

DIAGNOSTICS
    Warning: a status that cannot be written (a full disk); the work goes on. What concerns all batches, once.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loguru import logger

from batchd.core.cached import cached_source, saved_share
from batchd.core.model import Source
from batchd.core.pause import Pause, way_on
from batchd.core.rate import Rate
from batchd.core.record import Outcome, Progress, count
from batchd.core.settle import Seen
from batchd.core.status import (
    UNCLAIMABLE_MAX,
    BatchStatus,
    ModelStatus,
    StatusReport,
    Unclaimable,
    best_of,
    render,
    status_line,
)
from batchd.core.text import printable
from batchd.core.waiting import Waiting
from batchd.daemon.ports import Clock, ServiceManager, Spool
from batchd.errors import SpoolError

#: A line of progress is logged when both have passed since the last one.
LOG_REQUESTS = 100
LOG_INTERVAL_S = 30.0


@dataclass(slots=True)
class Card:
    """What is known of one batch in the house."""

    batch_id: str
    name: str
    status: str
    progress: Progress
    requests: Rate = field(default_factory=Rate)
    tokens: Rate = field(default_factory=Rate)
    logged_at: float = 0.0
    logged_count: int = 0
    pause: Pause | None = None
    estimate: str = ""

    def done(self) -> int:
        """Requests with an outcome."""
        return self.progress.completed + self.progress.failed


class StatusBoard:
    """The cards, and who reads them."""

    def __init__(
        self,
        spool: Spool,
        service: ServiceManager,
        clock: Clock,
        pid: int,
        servers: Callable[[], Sequence[ModelStatus]],
        unclaimable: Callable[[], Sequence[Seen]],
        moves: Callable[[], bool] = lambda: True,
        waiting: Callable[[], Iterable[Waiting]] = tuple,
        notice: Callable[[], str] = str,
        waits_for_operator: bool = True,
    ) -> None:
        self._spool = spool
        self._service = service
        self._clock = clock
        self._pid = pid
        self._servers = servers
        self._unclaimable = unclaimable
        self._moves = moves
        self._waiting = waiting
        self._notice = notice
        self._waits_for_operator = waits_for_operator
        self._noticed = False
        self._cards: dict[str, Card] = {}
        self._warned = False
        self._writing: asyncio.Future[None] | None = None
        self.state = "starting"

    def become(self, state: str) -> None:
        """The daemon's own state: starting, ready, draining, stopped."""
        self.state = state
        logger.bind(event="state", state=state).info("{}", state)

    def enter(self, batch_id: str, name: str, status: str, progress: Progress) -> None:
        """A batch came into the house, or its status changed."""
        card = self._cards.get(batch_id)
        if card is None:
            card = Card(batch_id, printable(name), status, progress, logged_at=self._clock.monotonic())
            card.logged_count = card.done()
            self._cards[batch_id] = card
        card.status = status
        card.progress = progress

    def durable(self, batch_id: str, outcome: Outcome) -> None:
        """An outcome was acknowledged by the journal."""
        card = self._cards[batch_id]
        card.progress = count(card.progress, outcome)

    def pause(self, batch_id: str, pause: Pause | None) -> None:
        """A batch waits for a person from now on, or no longer."""
        card = self._cards[batch_id]
        card.pause = pause
        card.requests, card.tokens = Rate(), Rate()  # what was before says nothing of what comes after
        bound = logger.bind(event="resumed" if pause is None else "paused", batch_id=batch_id)
        if pause is None:
            bound.info("{} goes on", batch_id)
        elif self._waits_for_operator:
            bound.warning("{} is paused: {}; to go on, type: {}", batch_id, pause.reason, way_on(batch_id))
        else:  # a foreground run ends with it, and says itself what to type
            bound.info("{} is paused: {}", batch_id, pause.reason)

    def estimate(self, batch_id: str, words: str) -> None:
        """What the pilot of this batch showed."""
        self._cards[batch_id].estimate = words

    def leave(self, batch_id: str) -> None:
        """A batch was published."""
        self._cards.pop(batch_id, None)

    def progress_of(self, batch_id: str) -> Progress:
        """The counters as shown."""
        return self._cards[batch_id].progress

    def report(self) -> StatusReport:
        """Everything, as of now."""
        servers, stays = self._servers(), self._unclaimable()
        return StatusReport(
            written_at=self._clock.now(),
            pid=self._pid,
            state=self.state,
            model=best_of(servers),
            batches=(*(self._describe(card) for card in self._cards.values()), *self._arriving()),
            unclaimable=tuple(
                Unclaimable(printable(item.name.decode("utf-8", "surrogateescape")), item.reason)
                for item in stays[:UNCLAIMABLE_MAX]
            ),
            unclaimable_more=max(0, len(stays) - UNCLAIMABLE_MAX),
            notice=self._notice(),
            servers=tuple(servers) if len(servers) > 1 else (),
        )

    def tick(self) -> StatusReport:
        """Measure, tell, log."""
        now = self._clock.monotonic()
        for card in self._cards.values():
            if card.pause is not None:
                continue
            spent = card.progress.spent
            card.requests.add(now, card.done())
            card.tokens.add(now, spent.prompt_tokens + spent.completion_tokens)
            self._log(card, now)
        report = self.report()
        self._log_notice(report.notice)
        self._service.status(status_line(report))
        if self._moves():
            self._service.ping()
        return report

    def show(self, report: StatusReport) -> None:
        """Begin to write it into status.json, in a thread. While an earlier one is still on its way, it is
        left out: a disk that hangs must not stop what else a tick does and says."""
        if self._writing is not None:
            if not self._writing.done():
                return
            self._writing.result()
        self._writing = asyncio.get_running_loop().run_in_executor(None, self.write, report)

    async def settle(self) -> None:
        """Wait until nothing is on its way into status.json."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
            self._writing.result()

    def write(self, report: StatusReport) -> None:
        """Into status.json. Blocking."""
        try:
            self._spool.write_status(render(report))
            self._warned = False
        except SpoolError as error:
            if not self._warned:
                logger.bind(event="status_failed").warning("the status cannot be written: {}", error.message)
            self._warned = True

    def _describe(self, card: Card) -> BatchStatus:
        rate = card.requests.per_s()
        left = card.progress.total - card.done()
        return BatchStatus(
            id=card.batch_id,
            name=card.name,
            status=card.status,
            total=card.progress.total,
            completed=card.progress.completed,
            failed=card.progress.failed,
            requests_per_s=rate,
            tokens_per_s=card.tokens.per_s(),
            cached_share=saved_share(card.progress),
            is_cached_estimated=cached_source(card.progress) is Source.ESTIMATE,
            eta_s=card.requests.eta_s(left),
            detail="" if card.pause is None else card.pause.reason,
            is_paused=card.pause is not None,
            estimate=card.estimate,
        )

    def _arriving(self) -> Iterator[BatchStatus]:
        """Claimed, and not accepted yet: a large file takes a while, and one may wait."""
        for item in self._waiting():
            if item.batch_id not in self._cards:
                name = printable(item.name.decode("utf-8", "surrogateescape"))
                yield BatchStatus(item.batch_id, name, "validating", 0, 0, 0, detail=item.reason)

    def _log_notice(self, notice: str) -> None:
        if notice and not self._noticed:
            logger.bind(event="notice").warning("{}", notice)
        elif self._noticed and not notice:
            logger.bind(event="notice_over").info("the work goes on")
        self._noticed = bool(notice)

    def _log(self, card: Card, now: float) -> None:
        done = card.done()
        if done - card.logged_count < LOG_REQUESTS or now - card.logged_at < LOG_INTERVAL_S:
            return
        card.logged_at, card.logged_count = now, done
        described = self._describe(card)
        logger.bind(event="progress", batch_id=card.batch_id).info(
            "{} {} of {} done, {} failed, {:.2f} requests/s, {} left",
            card.batch_id,
            done,
            card.progress.total,
            card.progress.failed,
            described.requests_per_s or 0.0,
            "?" if described.eta_s is None else f"{described.eta_s:.0f} s",
        )
