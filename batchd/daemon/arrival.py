"""Arrival: claimed batches on their way in, in slices.

SUMMARY
    `Arrivals` are those that are being read. `Arrival.slices` copies the file into an inode of ours, counts
    it, reads it once into the journal (`reading`), and accepts it. Between two slices others have their turn;
    whoever closes the generator gives the batch up, and what it had made of it is begun anew.

    The copy and the plan cannot be cut: they run in a thread of their own, and a slice waits for them for a
    moment. The phase `ready` comes last, so that a crash before it begins again from the original.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
    Warning: InputChangedError, NoSpaceError and FullJournalError concern this batch, which waits.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from enum import Enum
from typing import TypeVar

from loguru import logger

from batchd.core.bulk import Bulk
from batchd.core.fault import Refusal
from batchd.core.filetype import foreign_type
from batchd.core.options import Options, parse_options
from batchd.core.rules import Rules
from batchd.core.sieve import LookAt
from batchd.core.summary import Acceptance
from batchd.core.waiting import Waiting
from batchd.daemon.ports import Batch, Clock, Journal, Spool
from batchd.daemon.reading import Reading
from batchd.errors import NoSpaceError, NotUsableError

_T = TypeVar("_T")

#: How long a slice waits for what runs beside it: a small file comes in at once, in the order of the claims,
#: also on a slow disk, and the turns of the others come often enough.
SLICE_S = 1.0


#: Of a file with more lines some 150 bytes of each are held while it is read: one such file at a time.
LARGE_LINES = 200_000

#: What remains to be done of one batch.
Slices = Generator[None, None, tuple[Batch, Acceptance]]


class Turn(Enum):
    """A slice is done, and there is more."""

    OVER = "over"


class NoRoomError(NoSpaceError):
    """For what would come of so many lines there is no room."""

    def __init__(self, reason: str, lines: int) -> None:
        super().__init__(reason)
        self.lines = lines


class Arrival:
    """One batch. `no_room` says why there is none for so many lines, empty when there is; `may_read` whether
    so many may be read now; `never` why so many bytes and lines find no room on this disk at all."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        rules: Rules,
        waiting: Waiting,
        create_journal: Callable[[str], Journal],
        no_room: Callable[[int], str],
        may_read: Callable[[int], bool],
        never: Callable[[int, int], str],
        look_at: LookAt,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._rules = rules
        self._waiting = waiting
        self._create_journal = create_journal
        self._no_room = no_room
        self._may_read = may_read
        self._never = never
        self._look_at = look_at
        self._bulk = Bulk(rules.lines_max)
        self._is_given_up = False

    def __repr__(self) -> str:
        return f"Arrival({self._waiting.batch_id}, {self._bulk.lines} lines counted)"

    def slices(self, refusal: Refusal | None) -> Slices:
        """With a refusal nothing is read. The batch fails for each reason."""
        batch_id, name, spool = self._waiting.batch_id, self._waiting.name, self._spool
        options, refusals = self._options()
        if refusal is None:
            sha256, size, unusable = yield from self._copied()
        else:
            (sha256, size), unusable = spool.copy_nothing(batch_id), [refusal]
        with ExitStack() as undo:
            # Before anything is accepted: even to open a file may fail.
            file = undo.enter_context(spool.open_input(batch_id))
            journal = self._create_journal(spool.journal_path(batch_id))
            undo.callback(journal.close)
            reading = Reading(spool, journal, batch_id, self._rules, options, self._look_at)
            if not unusable and (foreign := foreign_type(file, self._rules.line_bytes_max)) is not None:
                unusable = [foreign.refusal()]  # one reason in place of one for each line
            elif not unusable:
                while not self._may_read(self._bulk.line_count):
                    yield
                yield from reading.slices()
            now, notes = self._clock.now(), (self._waiting.note,) if self._waiting.note else ()
            accept = lambda: reading.accept(name, unusable or refusals, sha256, size, now, notes)  # noqa: E731
            acceptance = yield from self._beside(accept)
            undo.pop_all()
        logger.bind(event="accepted", batch_id=batch_id).info(
            "{} accepted: {} lines, {} of them faulty, {} bytes, prefix groups: {}, strategy: {}{}",
            batch_id,
            acceptance.total,
            acceptance.faulty,
            size,
            acceptance.group_count,
            acceptance.strategy,
            "".join(f"; {note}" for note in acceptance.notes),
        )
        return Batch(batch_id, name, journal, file), acceptance

    def _copied(self) -> Generator[None, None, tuple[str, int, list[Refusal]]]:
        """Hash and bytes of the copy. What is too much of it is known before anything is made of it."""
        batch_id, bulk = self._waiting.batch_id, self._bulk
        try:
            copied = yield from self._beside(lambda: self._spool.copy_input(batch_id, self._count))
        except NotUsableError as error:
            refusal = bulk.refusal() or Refusal("invalid_request", error.message)
            return *self._spool.copy_nothing(batch_id), [refusal]
        too_much = bulk.refusal()
        if too_much is not None:
            return *copied, [too_much]
        if reason := self._never(copied[1], bulk.line_count):
            return *copied, [Refusal("too_large_for_disk", reason)]
        if reason := self._no_room(bulk.line_count):
            raise NoRoomError(reason, bulk.line_count)
        return *copied, []

    def _count(self, block: bytes) -> bool:
        return not self._is_given_up and self._bulk.add(block)

    def _beside(self, step: Callable[[], _T]) -> Generator[None, None, _T]:
        """In a thread, which is waited for even by whoever gives up: it changes the batch's directory."""
        with ThreadPoolExecutor(1, "intake-step") as thread:
            coming = thread.submit(step)
            try:
                while wait([coming], SLICE_S).not_done:
                    yield
            except GeneratorExit:
                self._is_given_up = True
                raise
            return coming.result()

    def _options(self) -> tuple[Options, list[Refusal]]:
        try:
            return parse_options(self._spool.read_options(self._waiting.name, self._waiting.batch_id))
        except NotUsableError as error:
            return Options(), [Refusal("invalid_options", error.message)]


class Arrivals:
    """Those that are being read, by batch id."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        create_journal: Callable[[str], Journal],
        no_room: Callable[[str, int], str],
        never: Callable[[int, int], str],
        look_at: LookAt,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._create_journal = create_journal
        self._no_room = no_room
        self._never = never
        self._look_at = look_at
        self._slices: dict[str, Slices] = {}
        self._unread: set[str] = set()  # those that fail whatever is in them
        self._large: str | None = None

    def __repr__(self) -> str:
        return f"Arrivals({', '.join(self._slices)})"

    def __contains__(self, batch_id: str) -> bool:
        return batch_id in self._slices

    def begin(self, waiting: Waiting, rules: Rules, refusal: Refusal | None) -> Slices:
        """It is being read from now on."""
        batch_id = waiting.batch_id
        arrival = Arrival(
            self._spool,
            self._clock,
            rules,
            waiting,
            self._create_journal,
            lambda lines: self._no_room(batch_id, lines),
            lambda lines: self._may_read(batch_id, lines),
            self._never,
            self._look_at,
        )
        self._slices[batch_id] = arrival.slices(refusal)
        if refusal is not None:
            self._unread.add(batch_id)
        return self._slices[batch_id]

    def get(self, batch_id: str) -> Slices | None:
        """What remains of it, if it is being read."""
        return self._slices.get(batch_id)

    def is_read(self, batch_id: str) -> bool:
        """Whether its file is being read, and not only its end written."""
        return batch_id in self._slices and batch_id not in self._unread

    def end(self, batch_id: str) -> None:
        """It came in, or waits."""
        self._slices.pop(batch_id, None)
        self._unread.discard(batch_id)
        self._large = None if self._large == batch_id else self._large

    def give_up(self, batch_id: str) -> None:
        """It is not read on. What was made of it is still there."""
        if (slices := self._slices.get(batch_id)) is not None:
            slices.close()
            self.end(batch_id)

    def close(self) -> None:
        """Give up all of them."""
        for batch_id in list(self._slices):
            self.give_up(batch_id)

    def _may_read(self, batch_id: str, lines: int) -> bool:
        """Of large files one is read at a time; small ones overtake it."""
        if lines > LARGE_LINES:
            self._large = self._large or batch_id
        return lines <= LARGE_LINES or self._large == batch_id
