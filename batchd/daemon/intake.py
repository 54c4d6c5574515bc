"""Intake: from a file in the inbox to an accepted batch.

SUMMARY
    `sweep` lists the inbox and claims what has settled, owners taking turns; a claim is one rename, after
    which the batch is ours, and its options follow at once. `accept` copies the file into an inode of our
    own, and has the copy read once into the journal (`reading`). The phase `ready` comes last, so that a
    crash before it begins again from the original.

    A claimed batch is listed in `waiting` until it is accepted. One that still changes, or for which the disk
    has no room, waits there without holding up the others, and is looked at again (`core/waiting`).

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
    Warning: a thing in the inbox that cannot be claimed, once; a claimed file that waits, once for each
    reason; a file that changed for a day, or whose batch was cancelled while it waited, ends unread.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Literal

from loguru import logger

from batchd.core.again import Reappearing
from batchd.core.fault import Refusal
from batchd.core.options import peek_batch_id
from batchd.core.rules import Rules
from batchd.core.settle import Seen, Watched, observe, turns, unclaimable
from batchd.core.sieve import LookAt, look
from batchd.core.space import Space
from batchd.core.summary import Acceptance
from batchd.core.waiting import (
    CANCELLED_UNREAD,
    OVERGROWN,
    UNSETTLED,
    Original,
    Waiting,
    hold_unsettled,
    hold_without_room,
    is_given_up,
    is_still,
)
from batchd.daemon.arrival import Arrivals, NoRoomError, Slices, Turn
from batchd.daemon.holdings import Holdings
from batchd.daemon.ports import Batch, Clock, Journal, Spool
from batchd.errors import FullJournalError, InputChangedError, NoSpaceError, NotUsableError, SpoolError

#: Claims of one sweep; the rest waits for the next, so that a million small files do not hold up the work.
CLAIMS_PER_SWEEP_MAX = 16

#: Of what stays in the inbox there is one line in the log, and then silence for so long: anybody may make a
#: million such names.
STAYS_SILENCE_S = 60.0


class Intake:
    """Claims files and turns them into batches. All methods block; run them beside the event loop.

    With `only`, files whose options do not name one of these batches stay in the inbox.
    """

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        rules: Rules,
        space: Space,
        create_journal: Callable[[str], Journal],
        new_batch_id: Callable[[], str],
        only: frozenset[str] | None = None,
        look_at: LookAt = look,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._rules = rules
        self._space = space
        self._new_batch_id = new_batch_id
        self._only = only
        self._watched: dict[bytes, Watched] = {}
        self._warned: set[bytes] = set()
        self._silent_until = 0.0
        self._waiting: dict[str, Waiting] = {}
        self.holdings = Holdings(spool)
        self._cancelled: set[str] = set()
        self._arrivals = Arrivals(spool, clock, create_journal, self._no_room_for, space.never, look_at)
        self._again = Reappearing()
        self._is_stopping = False
        #: Replaced whole, never changed: the event loop shows them.
        self.unclaimable: Sequence[Seen] = ()
        self.waiting: Sequence[Waiting] = ()

    @property
    def settle_s(self) -> float:
        """How long a file lies still before it is claimed."""
        return self._rules.settle_s

    def adopt(self, rules: Rules) -> None:
        self._rules = rules

    def stop(self) -> None:
        """Give up a file that is being taken in. It stays claimed; the next start begins it again."""
        self._is_stopping = True

    def enter(self, batch_id: str, is_accepted: bool) -> None:
        """A batch that was claimed before this start."""
        if (original := self._spool.original(batch_id)) is None:
            return
        self.holdings.claimed(batch_id, original)
        if is_accepted:
            self.holdings.accepted(batch_id, original.lines)
        else:
            self._keep(Waiting(batch_id, original.name))

    def leave(self, batch_id: str) -> None:
        """It is published. For the event loop: it only forgets."""
        self.holdings.leave(batch_id)
        self._cancelled.discard(batch_id)
        self._space.release(batch_id)

    def cancel(self, batch_id: str) -> None:
        """A batch that waits, or is being read, ends unread. For the event loop: it only notes it."""
        waiting = self._waiting.get(batch_id)
        if waiting is not None and (waiting.reason or batch_id in self._arrivals):
            self._cancelled.add(batch_id)

    def sweep(self, room: int) -> list[str]:
        """One full listing; claims at most `room` settled files. The ids of those claimed."""
        seen, now, rules = self._spool.sweep(), self._clock.monotonic(), self._rules
        self._watched, settled = observe(self._watched, seen, now, rules.settle_s)
        stays = unclaimable(self._watched, seen, now)
        claimed: list[str] = []
        for item in turns(settled, self.holdings.counts()):
            if len(claimed) >= min(room, CLAIMS_PER_SWEEP_MAX):
                break
            held = {batch_id for batch_id, waiting in self._waiting.items() if waiting.reason}
            reason = self.holdings.kept_out(item, held, rules)
            if reason:
                stays.append(Seen(item.name, item.kind, item.signature, reason, item.uid))
            # What stays where it is (a writer holds it, it is not of `only`) takes no room from the others.
            else:
                try:
                    batch_id = self._claim(item)
                except NoSpaceError as error:
                    stays.append(replace(item, reason=f"the disk is full: {error.message}"))
                    break
                except NotUsableError as error:
                    del self._watched[item.name]  # it must lie still anew: each try costs two syncs
                    stays.append(replace(item, reason=error.message))
                    continue
                claimed += [batch_id] if batch_id is not None else []
        self._list(stays, {item.name for item in seen})
        return claimed

    def due(self) -> list[str]:
        """The waiting batches that are to be looked at now, longest since first."""
        now = self._clock.monotonic()
        waits, cancelled = self._waiting.values(), self._cancelled
        due = [item for item in waits if item.look_at <= now or item.batch_id in cancelled]
        return [waiting.batch_id for waiting in sorted(due, key=lambda waiting: waiting.look_at)]

    def accept(self, batch_id: str) -> Batch | None:
        """Take a claimed batch in, to its end. None when it must wait, or we stop: it stays claimed."""
        while (coming := self.advance(batch_id)) is Turn.OVER:
            pass
        return coming

    def advance(self, batch_id: str) -> Batch | Literal[Turn.OVER] | None:
        """One slice of `accept`, after which others have their turn."""
        waiting, now = self._waiting[batch_id], self._clock.monotonic()
        try:
            if batch_id in self._cancelled and self._arrivals.is_read(batch_id):
                self._arrivals.give_up(batch_id)
                self._spool.reset_intake(batch_id)
            slices = self._arrivals.get(batch_id) or self._look(waiting, now)
            if slices is None:
                return None
            next(slices)
            if not self._is_stopping:
                return Turn.OVER
            self._arrivals.give_up(batch_id)
        except StopIteration as end:
            taken: tuple[Batch, Acceptance] = end.value
            self._space.promise(batch_id, taken[1].total)
            self.holdings.accepted(batch_id, taken[1].total)
            del self._waiting[batch_id]
            self.waiting = tuple(self._waiting.values())
            self._arrivals.end(batch_id)
            return taken[0]
        except (NoSpaceError, FullJournalError) as error:
            self._spool.reset_intake(batch_id)
            lines = error.lines if isinstance(error, NoRoomError) else None
            reason = error.message if lines else f"the disk is full: {error.message}"
            self._hold(replace(hold_without_room(waiting, now, reason), lines=lines))
            self._arrivals.end(batch_id)
        except InputChangedError:
            self._spool.reset_intake(batch_id)
            self._arrivals.end(batch_id)
            if self._unsettled(waiting, now) is not None:
                return Turn.OVER
        return None

    def close(self) -> None:
        """Give up all that is being read: it stays claimed, and the next start begins it again."""
        self._arrivals.close()

    def _look(self, waiting: Waiting, now: float) -> Slices | None:
        if waiting.batch_id in self._cancelled:
            return self._slices(waiting, CANCELLED_UNREAD)
        original = self._spool.original(waiting.batch_id)
        # With a journal to salvage from, our copy was made and is kept: the original is not read again.
        fresh = None if self._spool.journals_aside(waiting.batch_id) else original
        if fresh is not None and not is_still(waiting, fresh):
            return self._unsettled(waiting, now)
        if fresh is not None and fresh.size_bytes > self._rules.owner_bytes_max:
            return self._slices(waiting, OVERGROWN)
        if original is not None and (reason := self._no_room(waiting.batch_id, original, waiting.lines)):
            self._hold(replace(hold_without_room(waiting, now, reason), lines=waiting.lines))
            return None
        return self._slices(waiting, None)

    def _slices(self, waiting: Waiting, refusal: Refusal | None) -> Slices:
        return self._arrivals.begin(waiting, self._rules, refusal)

    def _claim(self, item: Seen) -> str | None:
        name = item.name
        if self._spool.has_writer(name):
            return None
        wanted = peek_batch_id(self._spool.peek_options(name))
        if self._only is not None and (wanted not in self._only or self._is_done_or_begun(wanted)):
            return None
        batch_id = wanted or self._new_batch_id()
        if self._only is None and self._spool.is_known(batch_id):
            old, batch_id = batch_id, self._new_batch_id()
            log = logger.bind(event="id_taken", batch_id=batch_id)
            log.warning("the id {} is taken: the batch of user {} gets {}", old, item.uid, batch_id)
        if not self._spool.claim(name, batch_id):
            return None
        # At once: once the name is free, options that come under it belong to the next file.
        try:
            self._spool.claim_options(name, batch_id)
            self.holdings.claimed(batch_id, self._spool.original(batch_id) or item)  # as it was moved
        except NoSpaceError as error:
            # Ours by now, though it is not listed as waiting: only recovery may go on with it.
            raise SpoolError(error.message, error.next_step) from error
        note = self._again.claim(name, item.uid, batch_id, self._clock.monotonic(), self.settle_s)
        self._keep(Waiting(batch_id, name, note=note))
        shown = name.decode("utf-8", "replace") + (f"; {note}" if note else "")
        log = logger.bind(event="claimed", batch_id=batch_id)
        log.log("WARNING" if note else "INFO", "{} claimed: {}", batch_id, shown)
        return batch_id

    def _is_done_or_begun(self, batch_id: str) -> bool:
        """Another file named the same batch, and came first."""
        return self._spool.is_at_work(batch_id) or self._spool.result_path(batch_id) is not None

    def _list(self, stays: Sequence[Seen], in_inbox: Set[bytes]) -> None:
        new = [item for item in stays if item.name not in self._warned]
        # As long as the name is there: whether a limit is looked at hangs on the room that there is.
        self._warned &= in_inbox
        now = self._clock.monotonic()
        if new and now >= self._silent_until:
            name = new[0].name.decode("utf-8", "replace")
            more = f"; and {len(new) - 1:,} more (batchd status)" if len(new) > 1 else ""
            words = f"{new[0].reason}{more}"
            logger.bind(event="stays_in_inbox").warning("stays in the inbox: {}: {}", name, words)
            self._warned |= {item.name for item in new}
            self._silent_until = now + STAYS_SILENCE_S
        self.unclaimable = stays

    def _unsettled(self, waiting: Waiting, now: float) -> Slices | None:
        if is_given_up(waiting, now):
            batch_id = waiting.batch_id
            logger.bind(event="unsettled", batch_id=batch_id).warning("{} never settles and fails", batch_id)
            return self._slices(waiting, UNSETTLED)
        if (original := self._spool.original(waiting.batch_id)) is not None:
            self._hold(hold_unsettled(waiting, now, original))
        return None

    def _no_room(self, batch_id: str, original: Original, lines: int | None) -> str:
        """For the copy, and for what comes of it as soon as its lines were counted."""
        reason = self.holdings.outgrown(batch_id, original, lines or 0, self._rules)
        return reason or self._space.refusal(original.size_bytes, lines or 0, self._spool.free_bytes())

    def _no_room_for(self, batch_id: str, lines: int) -> str:
        """Its copy is made."""
        original = self._spool.original(batch_id)
        if original is None:
            return ""
        reason = self.holdings.outgrown(batch_id, original, lines, self._rules)
        return reason or self._space.refusal(0, lines, self._spool.free_bytes())

    def _hold(self, waiting: Waiting) -> None:
        if self._waiting[waiting.batch_id].reason != waiting.reason:
            batch_id = waiting.batch_id
            logger.bind(event="waits", batch_id=batch_id).warning("{} waits: {}", batch_id, waiting.reason)
        self._keep(waiting)

    def _keep(self, waiting: Waiting) -> None:
        self._waiting[waiting.batch_id] = waiting
        self.waiting = tuple(self._waiting.values())
