"""Intake: from a file in the inbox to an accepted batch.

SUMMARY
    `sweep` lists the inbox and claims what has settled; a claim is one rename, after which the batch is ours.
    `accept` copies the file into an inode of our own, reads the copy once, and journals every line: where it
    stands, its group, or its error line. The phase `ready` comes last, so that a crash before it begins
    again from the original.

    A bad line gets its error line and the rest runs. A batch that cannot run at all (no usable line, bad
    options, or a bad line with `strict`) is accepted too, with the reasons; it ends as `failed`.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
    Warning: a thing in the inbox that cannot be claimed, once; a file that changes while it is copied.
"""

import zlib
from array import array
from collections.abc import Callable, Sequence
from itertools import islice

from loguru import logger

from batchd.core.fault import LineFault, Refusal
from batchd.core.lines import Line, Lines
from batchd.core.options import Options, parse_options, peek_batch_id
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.record import LineRow, NewLine
from batchd.core.request import Endpoint, LineLimits, Request, duplicate_custom_id
from batchd.core.result import line_fault_line, request_id
from batchd.core.rules import Rules
from batchd.core.settle import Kind, Seen, Watched, observe
from batchd.core.sieve import Sieve, whole_refusal
from batchd.core.summary import Acceptance
from batchd.daemon.ports import Batch, Clock, Journal, Spool
from batchd.errors import InputChangedError, NotUsableError

#: Claims of one sweep; the rest waits for the next, so that a million small files do not hold up the work.
CLAIMS_PER_SWEEP_MAX = 16

#: Lines in one transaction of the journal: 36 ms of work, measured, and a few MB of dirty pages.
LINES_PER_COMMIT = 5_000

#: Lines are held until their transaction, so bytes bound it too: parsed, a long line takes twice its bytes.
BYTES_PER_COMMIT = 4 * 2**20

#: Reasons kept for `errors.data`; OpenAI's batches stop listing somewhere too.
REFUSALS_MAX = 1_000


class Intake:
    """Claims files and turns them into batches. All methods block; run them beside the event loop.

    With `only`, files whose options do not name one of these batches stay in the inbox.
    """

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        rules: Rules,
        create_journal: Callable[[str], Journal],
        new_batch_id: Callable[[], str],
        only: frozenset[str] | None = None,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._rules = rules
        self._create_journal = create_journal
        self._new_batch_id = new_batch_id
        self._only = only
        self._watched: dict[bytes, Watched] = {}
        self._warned: set[bytes] = set()
        self._is_stopping = False
        self.unclaimable: Sequence[Seen] = ()

    def sweep(self, room: int) -> list[str]:
        """One full listing; claims at most `room` settled files. The ids of those claimed."""
        seen = self._spool.sweep()
        self.unclaimable = [item for item in seen if item.kind is Kind.UNCLAIMABLE]
        for item in self.unclaimable:
            if item.name not in self._warned:
                logger.warning("cannot be claimed: {}: {}", item.name.decode("utf-8", "replace"), item.reason)
        self._warned = {item.name for item in self.unclaimable}
        self._watched, settled = observe(self._watched, seen, self._clock.monotonic(), self._rules.settle_s)
        # What stays where it is (a writer holds it, or it is not of `only`) takes no room from the others.
        claimed = (batch_id for name in settled if (batch_id := self._claim(name)) is not None)
        return list(islice(claimed, min(room, CLAIMS_PER_SWEEP_MAX)))

    def stop(self) -> None:
        """Give up a file that is being taken in. It stays claimed; the next start begins it again."""
        self._is_stopping = True

    def accept(self, batch_id: str) -> Batch | None:
        """Take a claimed batch in. None when it still changes, or we stop: it stays claimed, for later."""
        name = self._spool.original_name(batch_id) or b""
        options, refusals = self._options(name, batch_id)
        try:
            sha256, size = self._spool.copy_input(batch_id)
        except InputChangedError:
            logger.warning("{} changed while it was copied; it will be tried again", batch_id)
            self._spool.reset_intake(batch_id)
            return None
        except NotUsableError as error:
            sha256, size = self._spool.copy_nothing(batch_id)
            refusals = [Refusal("invalid_request", error.message)]
        journal = self._create_journal(self._spool.journal_path(batch_id))
        reading = _Reading(self._spool, journal, batch_id, self._rules, options)
        if not reading.run(lambda: self._is_stopping):
            journal.close()
            return None
        acceptance = reading.accept(name, refusals, sha256, size, self._clock.now())
        logger.info(
            "{} accepted: {} lines, {} of them faulty, {} bytes, {} groups{}",
            batch_id,
            acceptance.total,
            acceptance.faulty,
            size,
            acceptance.group_count,
            "".join(f"; {note}" for note in acceptance.notes),
        )
        return Batch(batch_id, name, journal, self._spool.open_input(batch_id))

    def _options(self, name: bytes, batch_id: str) -> tuple[Options, list[Refusal]]:
        try:
            return parse_options(self._spool.claim_options(name, batch_id))
        except NotUsableError as error:
            return Options(), [Refusal("invalid_options", error.message)]

    def _claim(self, name: bytes) -> str | None:
        if self._spool.has_writer(name):
            return None
        wanted = peek_batch_id(self._spool.peek_options(name))
        if self._only is not None and wanted not in self._only:
            return None
        batch_id = wanted or self._new_batch_id()
        if self._only is None and self._spool.is_known(batch_id):
            fresh = self._new_batch_id()
            logger.warning("the id {} is taken; the batch is {}", batch_id, fresh)
            batch_id = fresh
        if not self._spool.claim(name, batch_id):
            return None
        logger.info("{} claimed: {}", batch_id, name.decode("utf-8", "replace"))
        return batch_id


class _Reading:
    """One pass over the copy."""

    def __init__(self, spool: Spool, journal: Journal, batch_id: str, rules: Rules, options: Options) -> None:
        self._spool = spool
        self._journal = journal
        self._batch_id = batch_id
        self._options = options
        self._limits = LineLimits(rules.line_bytes_max, rules.completion_tokens_default)
        self._is_strict = rules.strict if options.strict is None else options.strict
        self._sieve = Sieve(self._limits, self._is_strict)
        self._groups = PrefixGroups()
        self._group_of = array("i")
        self._bound_of = array("I")
        self._faults: list[Refusal] = []
        self._faulty = 0
        self._block: list[tuple[Line, Request | LineFault]] = []
        self._block_bytes = 0
        self._notes: tuple[str, ...] = ()

    def run(self, is_stopping: Callable[[], bool]) -> bool:
        """Journal every line; False when we were stopped before the end."""
        with self._spool.open_input(self._batch_id) as file:
            lines = Lines(file, self._limits.line_bytes_max)
            for line in lines:
                self._block.append((line, self._sieve.sort(line)))
                self._block_bytes += line.length_bytes
                if len(self._block) == LINES_PER_COMMIT or self._block_bytes >= BYTES_PER_COMMIT:
                    self._write_block()
                    if is_stopping():
                        return False
            self._write_block()
        self._notes = lines.notes()
        return True

    def accept(self, name: bytes, refusals: list[Refusal], sha256: str, size: int, now: float) -> Acceptance:
        """The plan and the facts; with them the phase `ready`."""
        total = len(self._group_of)
        plan = build_plan(self._groups.summary(), self._group_of, self._bound_of)
        acceptance = Acceptance(
            name=name.decode("utf-8", "replace"),
            total=total,
            faulty=self._faulty,
            group_count=len(plan.groups),
            prompt_tokens=self._groups.prompt_tokens,
            created_at=now,
            sha256=sha256,
            size_bytes=size,
            endpoint=(self._sieve.endpoint or Endpoint.CHAT).value,
            model=self._sieve.model,
            options=self._options,
            is_strict=self._is_strict,
            notes=self._notes,
            refusals=tuple(self._reasons(refusals, total)),
        )
        self._journal.accept(plan, acceptance.to_meta())
        return acceptance

    def _reasons(self, refusals: list[Refusal], total: int) -> list[Refusal]:
        """Why the whole batch fails; empty when it runs. Bad lines are named one by one."""
        refused = whole_refusal(total, self._faulty, self._is_strict)
        if refusals or refused is None:
            return refusals
        return self._faults or [refused]

    def _write_block(self) -> None:
        first = len(self._group_of)
        ids = [parsed.custom_id for _, parsed in self._block]
        taken = self._journal.claim_custom_ids(ids, first)
        rows = [
            self._enter(index, line, parsed, index in taken)
            for index, (line, parsed) in enumerate(self._block, first)
        ]
        self._journal.add_lines(rows)
        self._block.clear()
        self._block_bytes = 0

    def _enter(self, index: int, line: Line, parsed: Request | LineFault, is_taken: bool) -> NewLine:
        if isinstance(parsed, Request) and is_taken:
            parsed = duplicate_custom_id(line.number, parsed.custom_id)
        crc = zlib.crc32(line.raw or b"")
        if isinstance(parsed, LineFault):
            self._group_of.append(-1)
            self._bound_of.append(0)
            self._faulty += 1
            if len(self._faults) < REFUSALS_MAX:
                self._faults.append(Refusal(parsed.code, parsed.message, parsed.param, parsed.line))
            row = LineRow(line.offset, line.length_bytes, crc, -1, line.number)
            return NewLine(index, row, line_fault_line(parsed, request_id(self._batch_id, index)))
        group = self._groups.add(parsed)
        self._group_of.append(group)
        self._bound_of.append(parsed.completion_tokens_max)
        return NewLine(index, LineRow(line.offset, line.length_bytes, crc, group, line.number))
