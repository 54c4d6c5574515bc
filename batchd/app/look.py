"""A look: reads what stands in a spool under one batch's id, and hands it to the audit.

SUMMARY
    Everything is read in the order in which a daemon beside it writes it last: what it shows, then the
    journal, then what it has published. So what was shown is never ahead of what is read later.

    `strangers` looks at the names in the rooms, `batch` at one batch. Nothing is held but the names
    (`look_rooms`) and one batch's hashes.

DIAGNOSTICS
    Fatal: ConfigError, SpoolError for a room that cannot be listed. A file that cannot be read is a Finding.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchd.app.look_results import RESULT_ROOM, ResultLook
from batchd.app.look_rooms import (
    TRASH,
    Rooms,
    id_in_archive,
    id_in_outbox,
    id_in_partial,
    id_in_processing,
)
from batchd.core.audit.finding import LOOK, REDO_BATCH, Finding, Rule
from batchd.core.audit.journal import JournalAudit, audit_input, audit_partial
from batchd.core.audit.places import Kind, Standing, audit_standing, audit_strangers
from batchd.core.audit.report import Looked
from batchd.core.lifecycle import Phase
from batchd.core.options import is_batch_id
from batchd.core.record import LineRow, Plan, Progress
from batchd.core.status import BatchStatus, parse
from batchd.core.tally import Tally
from batchd.edges.evidence import LINE_BYTES_MAX, Evidence
from batchd.edges.journal.copied import BusyError, CopiedJournal, copied
from batchd.errors import DamagedJournalError, JournalError, SpoolError

#: Told what is read, and how many bytes more of it.
Watch = Callable[[str, int], None]

#: Times that a batch is looked at anew because it went on meanwhile.
_LOOKS = 5


@dataclass(frozen=True, slots=True)
class _Journal:
    """The journal of a batch that intake has accepted. `plan` None: it cannot be read."""

    rows: CopiedJournal
    phase: Phase
    meta: Mapping[str, str]
    progress: Progress
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """processing/<id> at one moment."""

    names: Mapping[str, Kind] | None
    journal: _Journal | None = None
    trouble: JournalError | None = None


class Look:
    """Looks into one spool."""

    def __init__(self, evidence: Evidence, watch: Watch) -> None:
        self._evidence = evidence
        self._watch = watch
        self._processing = evidence.root / "processing"
        self._rooms = Rooms(evidence)
        self._status_raw: bytes | None = None
        self._status: dict[str, BatchStatus] = {}
        self.looked = Looked()
        self.skipped: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Look at {self._evidence.root}>"

    def batch_ids(self) -> list[str]:
        """Every id that something here stands under."""
        return self._rooms.batch_ids()

    def strangers(self) -> Iterator[Finding]:
        """What is no batch's, and what is of the wrong kind, in the rooms that belong to batchd."""
        evidence, root = self._evidence, self._evidence.root
        rooms: list[tuple[str, Path, Callable[[str], str], Kind]] = [
            ("processing", self._processing, id_in_processing, Kind.DIRECTORY),
            ("archive", root / "archive", id_in_archive, Kind.DIRECTORY),
            ("partial", root / "partial", id_in_partial, Kind.FILE),
        ]
        if evidence.owns_outbox:
            rooms.append(("outbox", evidence.outbox, id_in_outbox, Kind.DIRECTORY))
        for room, path, id_of, kind in rooms:
            if path.is_symlink():
                yield from audit_strangers(".", {room: Kind.LINK})
            names = evidence.listing(path)
            odd = {
                name: found
                for name, found in names.items()
                if not is_batch_id(id_of(name)) or found is not kind
            }
            yield from audit_strangers(room, odd)

    def status(self) -> Iterator[Finding]:
        """Whether status.json can be read at all; there is none before a daemon's first start.

        It is never synced, so a power cut may leave it without content.
        """
        try:
            raw = self._evidence.content(self._evidence.root / "status.json")
            if raw is not None and raw.strip(b"\0"):
                parse(raw)
        except SpoolError as error:
            yield Finding(Rule.COUNTERS, "status.json", error.message, error.next_step)
        except OSError as error:
            yield Finding(Rule.COUNTERS, "status.json", f"It cannot be read: {error.strerror}.", LOOK)

    def batch(self, batch_id: str) -> Iterator[Finding]:
        """Everything of this batch. What no batchd would have written there is a finding, whatever it is."""
        try:
            yield from self._batch(batch_id)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            what = f"What lies here under this id cannot be understood ({type(error).__name__})."
            yield Finding(Rule.ONE_PLACE, f"processing/{batch_id}", what, REDO_BATCH)

    def _batch(self, batch_id: str) -> Iterator[Finding]:
        shown = self._shown(batch_id)
        partial = self._evidence.root / "partial" / f"{batch_id}.jsonl"
        partial_bytes = self._evidence.size(partial)
        with ExitStack() as stack:
            settled = self._settled(stack, batch_id)
            held = self._rooms.held(batch_id)
            results = ResultLook(self._evidence, self._watch, self.looked, self.skipped, batch_id, held)
            journal = settled.journal
            yield from self._trouble(batch_id, settled.trouble)
            standing = self._standing(batch_id, settled, shown, partial_bytes, results)
            if standing.aside:
                place = f"processing/{batch_id}"
                names = ", ".join(standing.aside)
                self.skipped[f"{place}/aside"] = f"{place}: its journal was damaged and replaced; {names}."
            yield from audit_standing(standing)
            if journal is not None:
                self.looked.batches_at_work += 1
                yield from self._at_work(batch_id, journal)
                if partial_bytes is not None and not standing.aside:
                    lines = self._evidence.lines(partial, partial_bytes)
                    place = f"partial/{batch_id}.jsonl"
                    yield from self._readable(
                        place, audit_partial(place, batch_id, lines, journal.rows.result)
                    )
                if journal.phase is Phase.PUBLISHING and settled.names and "publish" in settled.names:
                    place = f"processing/{batch_id}/publish"
                    sealed = journal.meta.get("publish_sha256", "")
                    yield from results.directory(self._processing / batch_id / "publish", place, sealed)
        for name in results.published:
            yield from results.directory(self._evidence.outbox / name, f"{RESULT_ROOM}/{name}", None)
        yield from results.originals()

    def _shown(self, batch_id: str) -> tuple[BatchStatus, ...]:
        try:
            raw = self._evidence.content(self._evidence.root / "status.json")
            if raw != self._status_raw:
                batches = () if raw is None else parse(raw).batches
                self._status_raw, self._status = raw, {item.id: item for item in batches}
        except (SpoolError, OSError):
            return ()  # said once, by `status`
        return (self._status[batch_id],) if batch_id in self._status else ()

    def _settled(self, stack: ExitStack, batch_id: str) -> _Settled:
        """Directory and journal of one moment; the copy of the journal is closed with the stack."""
        for _ in range(_LOOKS):
            names = self._names(batch_id)
            if names is None or "journal" not in names:
                return _Settled(names)
            with ExitStack() as attempt:
                try:
                    rows = attempt.enter_context(copied(self._processing / batch_id / "journal"))
                    settled = _Settled(names, None if rows is None else _read(rows))
                except JournalError as error:
                    settled = _Settled(names, trouble=error)
                if self._names(batch_id) == names:
                    stack.enter_context(attempt.pop_all())
                    return settled
        return _Settled(self._names(batch_id), trouble=BusyError("It goes on too fast to be looked at."))

    def _names(self, batch_id: str) -> Mapping[str, Kind] | None:
        if self._evidence.kind(self._processing / batch_id) is not Kind.DIRECTORY:
            return None
        return self._evidence.listing(self._processing / batch_id)

    def _trouble(self, batch_id: str, trouble: JournalError | None) -> Iterator[Finding]:
        place = f"processing/{batch_id}/journal"
        if isinstance(trouble, BusyError):
            self.skipped[place] = f"{place}: {trouble.message} {trouble.next_step}".rstrip()
        elif trouble is not None:
            rule = Rule.ACKNOWLEDGED if isinstance(trouble, DamagedJournalError) else Rule.UNATTENDED
            yield Finding(rule, place, trouble.message, trouble.next_step)

    def _standing(
        self,
        batch_id: str,
        settled: _Settled,
        shown: tuple[BatchStatus, ...],
        partial_bytes: int | None,
        results: ResultLook,
    ) -> Standing:
        journal = settled.journal
        progress = None if journal is None else journal.progress
        return Standing(
            batch_id,
            processing=settled.names,
            originals=results.batch_files(self._processing / batch_id / "orig"),
            phase=None if journal is None else journal.phase,
            is_phase_known=settled.trouble is None,
            is_trashed=self._evidence.kind(self._processing / (TRASH + batch_id)) is not None,
            results=results.published,
            archived=results.archived,
            has_partial=partial_bytes is not None,
            counts=None if progress is None else (progress.total, progress.completed, progress.failed),
            shown=shown,
        )

    def _at_work(self, batch_id: str, journal: _Journal) -> Iterator[Finding]:
        place = f"processing/{batch_id}"
        path = self._processing / batch_id / "input.jsonl"
        yield from self._readable(f"{place}/input.jsonl", self._input(place, path, journal))
        yield from self._readable(f"{place}/journal", self._lines(batch_id, path, journal))

    def _input(self, place: str, path: Path, journal: _Journal) -> Iterator[Finding]:
        tally = Tally()
        for block in self._evidence.blocks(path):
            tally.add(block)
            self._saw(f"{place}/input.jsonl", len(block))
        yield from audit_input(place, journal.meta, tally.sha256, tally.size_bytes)

    def _lines(self, batch_id: str, path: Path, journal: _Journal) -> Iterator[Finding]:
        place = f"processing/{batch_id}/journal"
        audit = JournalAudit(place, batch_id)
        with self._evidence.opened(path) as file:
            for line in journal.rows.lines():
                raw = None if line.row is None else _read_at(file, line.row)
                self.looked.journal_lines += 1
                self._saw(place, len(raw or b""))
                yield from audit.line(line, raw)
        yield from audit.end(journal.phase, journal.progress, journal.plan, journal.meta)

    def _saw(self, place: str, size_bytes: int) -> None:
        self.looked.bytes_read += size_bytes
        self._watch(place, size_bytes)

    def _readable(self, place: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """The findings, and one more where the file cannot be read to its end."""
        try:
            yield from findings
        except OSError as error:
            what = f"It cannot be read: {error.strerror or error}."
            yield Finding(Rule.ONE_PLACE, place, what, REDO_BATCH)


def _read(rows: CopiedJournal) -> _Journal | None:
    """None where intake did not end."""
    phase = rows.rows.phase()
    if phase is None:
        return None
    try:
        plan = rows.rows.plan()
    except JournalError:
        plan = None
    return _Journal(rows, phase, rows.rows.meta(), rows.rows.progress(), plan)


def _read_at(file: BinaryIO, row: LineRow) -> bytes:
    file.seek(row.offset)
    return file.read(min(row.length, LINE_BYTES_MAX))
