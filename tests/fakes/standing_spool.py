"""A real spool on disk with batches at every station, made by the rooms' own files and without a daemon.

SUMMARY
    standing = StandingSpool(tmp_path)
    batch_id = standing.claim([chat("a"), None])      S2
    batch = standing.accept(batch_id)                 S3, then S4 with `begin`
    standing.answer(batch, 0)                         an outcome and its partial line
    standing.assemble(batch), standing.publish(batch) S5, S7

    A request whose custom_id begins with `dead` never gets an answer, one that begins with `refused` is
    refused. Ids are counted, so that a test can say which batch it damages.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from batchd.core.fault import Category, LineFault, ModelFault, Rejected
from batchd.core.lifecycle import Phase
from batchd.core.lines import Lines
from batchd.core.model import Answer, Source, Usage
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.record import LineRow, NewLine, Outcome, Spent
from batchd.core.request import LineLimits, Request, parse_line
from batchd.core.result import line_fault_line, model_fault_line, request_id, result_line
from batchd.core.schema import Breach, Reason
from batchd.core.status import BatchStatus, StatusReport, render
from batchd.core.summary import facts_of, from_meta
from batchd.daemon.ports import Batch
from batchd.daemon.publisher import Publisher
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool, final_name, submit_file
from tests.fakes.made_batch import Line, acceptance, content

NAME = b"reviews.jsonl"
BEGUN_AT = 1_800_000_000.0
LIMITS = LineLimits()


def batch_id_of(number: int) -> str:
    return f"batch_{number:032x}"


class StandingSpool:
    """Owns the spool until `close`, as a daemon would."""

    def __init__(self, place: Path) -> None:
        self.root = place / "spool"
        self._place = place
        self._spool = Spool.open(self.root)
        self._publisher = Publisher(self._spool)
        self._batches: list[Batch] = []
        self._count = 0

    def close(self) -> None:
        """The daemon is gone. Safe to repeat."""
        for batch in self._batches:
            batch.journal.close()
            batch.input.close()
        self._batches.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None  # type: ignore[assignment]  # nobody may use it now

    def submit(self, lines: Sequence[Line | None] | bytes) -> str:
        """Into the inbox."""
        self._count += 1
        batch_id = batch_id_of(self._count)
        source = self._place / "handed-in"
        source.write_bytes(lines if isinstance(lines, bytes) else content(lines))
        submit_file(self.root, source, NAME.decode(), {"batch_id": batch_id})
        return batch_id

    def claim(self, lines: Sequence[Line | None] | bytes) -> str:
        """S2."""
        batch_id = self.submit(lines)
        assert self._spool.claim(NAME, batch_id)
        self._spool.claim_options(NAME, batch_id)
        return batch_id

    def accept(self, batch_id: str) -> Batch:
        """S3."""
        sha256, size_bytes = self._spool.copy_input(batch_id)
        journal = Journal.create(self._spool.journal_path(batch_id))
        rows: list[NewLine] = []
        found: list[Request | LineFault] = []
        groups = PrefixGroups(lambda index: _request(found[index]))
        with self._spool.open_input(batch_id) as file:
            for index, line in enumerate(Lines(file, LIMITS.line_bytes_max)):
                assert line.raw is not None
                parsed = parse_line(line.raw, line.number, LIMITS, None)
                taken = journal.claim_custom_ids([parsed.custom_id], index)
                if taken and isinstance(parsed, Request):
                    parsed = LineFault(line.number, "duplicate_custom_id", "Twice.", None, parsed.custom_id)
                found.append(parsed)
                if isinstance(parsed, Request):
                    groups.add(index, parsed)
                group = -isinstance(parsed, LineFault)
                row = LineRow(line.offset, len(line.raw), zlib.crc32(line.raw), group, line.number)
                identity = request_id(batch_id, index)
                error = line_fault_line(parsed, identity) if isinstance(parsed, LineFault) else None
                rows.append(NewLine(index, row, error))
        journal.add_lines(rows)
        facts = replace(acceptance(len(rows)), sha256=sha256, size_bytes=size_bytes)
        journal.accept(build_plan(groups, len(rows)), facts.to_meta())
        batch = Batch(batch_id, NAME, journal, self._spool.open_input(batch_id))
        self._batches.append(batch)
        return batch

    def begin(self, lines: Sequence[Line | None] | bytes) -> Batch:
        """S4."""
        batch = self.accept(self.claim(lines))
        batch.journal.set_phase(Phase.IN_PROGRESS, {"in_progress_at": repr(BEGUN_AT)})
        return batch

    def answer(self, batch: Batch, *indices: int) -> None:
        """Outcomes, durable, then shown."""
        for index, row in zip(indices, batch.journal.read_lines(indices), strict=True):
            batch.input.seek(row.offset)
            request = parse_line(batch.input.read(row.length), row.number, LIMITS, None)
            assert isinstance(request, Request)
            outcome = _outcome(batch.id, index, row.number, request)
            asyncio.run(_recorded(batch, outcome))
            self._spool.append_partial(batch.id, (outcome.line or b"") + b"\n")

    def intend(self, batch: Batch, *indices: int) -> None:
        """These are in flight."""
        asyncio.run(_intended(batch, indices))

    def finish_lines(self, batch: Batch) -> None:
        """Every line has its outcome."""
        finished = batch.journal.finished()
        self.answer(batch, *(index for index, is_done in enumerate(finished) if not is_done))

    def assemble(self, batch: Batch) -> Path:
        """S5; the path of publish/."""
        self.finish_lines(batch)
        given = from_meta(batch.journal.meta())
        facts = facts_of(batch.id, given, batch.journal.progress(), "completed", {"completed_at": BEGUN_AT})
        metrics: dict[str, object] = {"version": 1, "provenance": {"input": {"sha256": given.sha256}}}
        self._publisher.assemble(batch, final_name(NAME, batch.id), facts, metrics, "<!doctype html>")
        return self.root / "processing" / batch.id / "publish"

    def rename(self, batch: Batch) -> Path:
        """S6: only the rename of the publication."""
        return Path(self._spool.publish(batch.id, batch.journal.meta()["final_name"]))

    def archive(self, batch: Batch) -> None:
        """S6a."""
        self._spool.archive(batch.id)

    def publish(self, lines: Sequence[Line | None] | bytes) -> Path:
        """All the way; the result directory."""
        batch = self.begin(lines)
        self.assemble(batch)
        path = Path(self._publisher.finish(batch))
        self._publisher.delete(batch)
        return path

    def show(self, *batches: Batch, ahead: int = 0) -> None:
        """status.json, as these stand; `ahead` pretends so many more answers."""
        shown = []
        for batch in batches:
            progress = batch.journal.progress()
            counts = (progress.total, progress.completed + ahead, progress.failed)
            shown.append(BatchStatus(batch.id, NAME.decode(), "in_progress", *counts))
        report = StatusReport(BEGUN_AT, 1, "stopped", batches=tuple(shown))
        self._spool.write_status(render(report))


def _outcome(batch_id: str, index: int, number: int, request: Request) -> Outcome:
    identity = request_id(batch_id, index)
    category = {"dead": Category.CRASH, "refused": Category.VALIDATION}.get(request.custom_id.split("-")[0])
    if request.custom_id.startswith("odd-"):
        breach = Breach(Reason.SCHEMA, "0 is less than 1", "$.a", "minimum")
        rejected = Rejected(breach, '{"a": 0}', None, "stop", 7, 3)
        fault = ModelFault(Category.INVALID_ANSWER, "It breaks.", is_temporary=False, rejected=rejected)
        content = model_fault_line(request.custom_id, number, fault, identity)
        return Outcome(index, content, True, fault.category, 1, spent=Spent(broken_answers=1))
    if category is not None:
        fault = ModelFault(category, "It is so.", is_temporary=False)
        return Outcome(index, model_fault_line(request.custom_id, number, fault, identity), True, category, 1)
    answer = Answer(f"answer {index} " * 60, None, "stop", Usage(7, 3, 2, Source.ENGINE, 0.1, 0.1))
    line = result_line(request, answer, identity, BEGUN_AT)
    return Outcome(index, line, spent=Spent(prompt_tokens=7, completion_tokens=3, cached_tokens=2))


async def _recorded(batch: Batch, outcome: Outcome) -> None:
    await batch.journal.record(outcome)


async def _intended(batch: Batch, indices: Sequence[int]) -> None:
    await batch.journal.intend(indices)


def _request(parsed: Request | LineFault) -> Request:
    assert isinstance(parsed, Request)
    return parsed
