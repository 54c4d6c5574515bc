"""Reading: one pass over the copy of a batch file, into its journal.

SUMMARY
    Every line gets its row: where it stands, its group, or its error line. Then the plan and the facts, and
    with them the phase `ready`. A bad line gets its error line and the rest runs; a batch that cannot run at
    all (no usable line, bad options, or a bad line with `strict`) is accepted too, with the reasons.

DIAGNOSTICS
    Fatal: SpoolError, JournalError.
    Warning: answers that were salvaged from a damaged journal.
"""

import zlib
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from loguru import logger

from batchd import failpoints
from batchd.core import validity
from batchd.core.chats import Chats
from batchd.core.fault import LineFault, Refusal
from batchd.core.lines import Line, Lines
from batchd.core.markup import Markup
from batchd.core.options import Options
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.record import Copy, Event, LineRow, NewLine
from batchd.core.request import Endpoint, LineLimits, Request, duplicate_custom_id, parse_line
from batchd.core.result import line_fault_line, request_id
from batchd.core.rules import Rules
from batchd.core.sieve import LookAt, Sieve, look, whole_refusal
from batchd.core.strategy import Strategy, settled
from batchd.core.summary import Acceptance
from batchd.daemon.ports import Journal, Spool

#: Lines in one transaction of the journal: 36 ms of work, measured, and a few MB of dirty pages.
LINES_PER_COMMIT = 5_000

#: Lines are held until their transaction, so bytes bound it too: parsed, a long line takes twice its bytes.
BYTES_PER_COMMIT = 4 * 2**20

#: Reasons kept for `errors.data`; OpenAI's batches stop listing somewhere too.
REFUSALS_MAX = 1_000


_Block = list[tuple[Line, Request | LineFault]]


class Reading:
    """One pass over the copy."""

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        batch_id: str,
        rules: Rules,
        options: Options,
        look_at: LookAt = look,
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._batch_id = batch_id
        self._options = options
        self._limits = LineLimits(rules.line_bytes_max, rules.completion_tokens_default)
        self._is_strict = rules.strict if options.strict is None else options.strict
        self._sieve = Sieve(self._limits, self._is_strict, look_at)
        self._deduplicate = rules.deduplicate if options.deduplicate is None else options.deduplicate
        self._answers = validity.settled(options.answers, rules.answers)
        self._strategy = settled(options.strategy, rules.strategy)
        self._groups: Chats | PrefixGroups = (
            Chats(rules.window_tokens_max)
            if self._strategy is Strategy.CONVERSATION
            else PrefixGroups(self._request_of, self._deduplicate, rules.window_tokens_max)
        )
        self._markup = Markup()
        self._offsets = array("Q")
        self._lengths = array("I")
        self._again: BinaryIO | None = None  # the same file, to look at an earlier line
        self._faults: list[Refusal] = []
        self._faulty = 0
        self._block: _Block = []
        self._block_bytes = 0
        self._handed_lines = 0
        self._claimed: tuple[_Block, Future[set[int]]] | None = None  # lines whose ids are being claimed
        self._added: Future[None] | None = None  # those before them, on their way into the journal
        self._notes: tuple[str, ...] = ()

    def slices(self) -> Iterator[None]:
        """Journal every line. Between two slices others have their turn; to close it is to give it up."""
        opened = self._spool.open_input
        # The journal commits one block while the next is read here: its disk is not waited for.
        with (
            opened(self._batch_id) as file,
            opened(self._batch_id) as self._again,
            ThreadPoolExecutor(1, "intake-journal") as journal,
        ):
            lines = Lines(file, self._limits.line_bytes_max)
            for line in lines:
                self._block.append((line, self._sieve.sort(line)))
                self._block_bytes += line.length_bytes
                if len(self._block) == LINES_PER_COMMIT or self._block_bytes >= BYTES_PER_COMMIT:
                    self._hand_over(journal)
                    yield
            self._hand_over(journal)
            self._enter_claimed(journal)
            self._await_added()
        self._notes = lines.notes()

    def accept(
        self,
        name: bytes,
        refusals: list[Refusal],
        sha256: str,
        size: int,
        now: float,
        notes: tuple[str, ...] = (),
    ) -> Acceptance:
        """The plan and the facts, with `notes` beside its own; with them the phase `ready`."""
        self._notes += notes
        self._salvage(now)
        total = len(self._offsets)
        groups = self._groups
        plan = groups.plan(total) if isinstance(groups, Chats) else build_plan(groups, total)
        self._notes += self._markup.notes() + (groups.notes() if isinstance(groups, Chats) else ())
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
            copies=self._groups.copies,
            strategy=self._strategy,
            deduplicate=self._deduplicate,
            answers=self._answers,
        )
        failpoints.reach("accept.begun")
        self._journal.accept(plan, acceptance.to_meta())
        failpoints.reach("accept.done")
        return acceptance

    def _salvage(self, now: float) -> None:
        """Take over what is whole in damaged journals of this batch; said in log, decisions and results."""
        for path in self._spool.journals_aside(self._batch_id):
            salvaged, total = self._journal.salvage_from(path), len(self._offsets)
            kept = salvaged.results
            text = f"a damaged journal was replaced: {kept} of its results were whole and are kept"
            logger.bind(event="salvaged", batch_id=self._batch_id).warning("{}: {}", self._batch_id, text)
            self._journal.log_event(Event(now, "salvaged", str(total), str(kept), "the journal was damaged"))
            self._notes += (f"{text}; times before that are not counted",)
            if kept and not salvaged.has_uses:
                self._notes += ("which models gave these results could not be read from the damaged journal",)

    def _reasons(self, refusals: list[Refusal], total: int) -> list[Refusal]:
        """Why the whole batch fails; empty when it runs. Bad lines are named one by one."""
        refused = whole_refusal(total, self._faulty, self._is_strict)
        if refusals or refused is None:
            return refusals
        return self._faults or [refused]

    def _hand_over(self, journal: ThreadPoolExecutor) -> None:
        """The ids of this block are claimed while the next one is read."""
        self._enter_claimed(journal)
        ids = [parsed.custom_id for _, parsed in self._block]
        failpoints.reach("lines.begun")
        claiming = journal.submit(self._journal.claim_custom_ids, ids, self._handed_lines)
        self._claimed = (self._block, claiming)
        self._handed_lines += len(self._block)
        self._block, self._block_bytes = [], 0

    def _enter_claimed(self, journal: ThreadPoolExecutor) -> None:
        """The lines of the block before: the group of each, and with it on the way into the journal."""
        if self._claimed is None:
            return
        (block, claiming), self._claimed = self._claimed, None
        taken, first = claiming.result(), len(self._offsets)
        rows = [
            self._enter(index, line, parsed, index in taken)
            for index, (line, parsed) in enumerate(block, first)
        ]
        self._await_added()
        self._added = journal.submit(self._journal.add_lines, rows)

    def _await_added(self) -> None:
        """Raises what the journal raised. No more than two blocks are held at one time."""
        if self._added is not None:
            self._added.result()
            self._added = None
            failpoints.reach("lines.done")

    def _enter(self, index: int, line: Line, parsed: Request | LineFault, is_taken: bool) -> NewLine:
        if isinstance(parsed, Request) and is_taken:
            parsed = duplicate_custom_id(line.number, parsed.custom_id)
        crc = zlib.crc32(line.raw or b"")
        # Nobody reads a line over the limit again, and its length may be more than a row can say.
        length = 0 if line.raw is None else line.length_bytes
        self._offsets.append(line.offset)
        self._lengths.append(length)
        if isinstance(parsed, LineFault):
            self._faulty += 1
            if len(self._faults) < REFUSALS_MAX:
                self._faults.append(Refusal(parsed.code, parsed.message, parsed.param, parsed.line))
            row = LineRow(line.offset, length, crc, -1, line.number)
            return NewLine(index, row, line_fault_line(parsed, request_id(self._batch_id, index)))
        self._markup.note(parsed)
        original = self._groups.add(index, parsed)
        copy = None if original is None else Copy(original, parsed.custom_id)
        return NewLine(index, LineRow(line.offset, length, crc, 0, line.number), None, copy)

    def _request_of(self, index: int) -> Request:
        """An earlier line, read again."""
        assert self._again is not None, "lines are entered during the pass"
        self._again.seek(self._offsets[index])
        parsed = parse_line(self._again.read(self._lengths[index]), index, self._limits, self._sieve.endpoint)
        assert isinstance(parsed, Request), "the line was good before"
        return parsed
