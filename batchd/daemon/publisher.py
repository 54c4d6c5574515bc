"""Publisher: from a finished batch to its directory in the outbox.

SUMMARY
    `assemble` writes the result files in input order from the journal (answers that were rejected have one of
    their own), checks that every line has exactly one outcome, and seals them; then the final name and the
    hash become durable with the phase `publishing`. `metrics.json` is written last and has the figures of the
    others, so that a directory can prove itself whole wherever it is taken. `finish` makes the one rename,
    archives the original and discards the rest, which `delete` deletes. Both may be repeated, after a crash
    or where the disk had no room: `assemble` begins anew, and for `finish` an absent publish/ is the proof of
    publication.

    After a crash `is_sealed` asks whether publish/ is still what was sealed. If a disk made something else of
    it, `unseal` takes the batch back to work, where nothing is left to do but to assemble it again.

DIAGNOSTICS
    Warning: a sealed directory that has changed; NoSpaceError where the disk is full, with nothing left of
    what was begun.
    Fatal: SpoolError, JournalError; a line without an outcome is a JournalError, and nothing is published.
"""

import errno
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from loguru import logger

from batchd import failpoints
from batchd.core.flaws import counted_answers, flawed_answers
from batchd.core.json import dumps
from batchd.core.lifecycle import Phase
from batchd.core.record import LineRow
from batchd.core.rejection import parted
from batchd.core.result import BatchFacts, batch_object
from batchd.core.runaway import Extra
from batchd.core.tally import Tally
from batchd.daemon.ports import Batch, Spool
from batchd.errors import JournalError, NoSpaceError, SpoolError

#: Rows of failed lines are read from the journal in blocks of this many, for `retry.jsonl`.
RETRY_BLOCK_LINES = 1_000

OUTPUT = "output.jsonl"
ERRORS = "errors.jsonl"
RETRY = "retry.jsonl"
REJECTED = "rejected.jsonl"

#: What a full disk and a used-up quota answer.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

_Write = Callable[[bytes], None]


class Publisher:
    """Assembles and publishes. All methods block; run them beside the event loop."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def assemble(
        self, batch: Batch, final_name: str, facts: BatchFacts, metrics: dict[str, object], page: str
    ) -> None:
        """Write publish/, seal it, and make name and hash durable. `page`: the same for people, in HTML."""
        try:
            self._write(batch, facts, metrics, page)
            failpoints.reach("assembly.done")
            sha256 = self._spool.seal_publish(batch.id)
        except NoSpaceError as error:
            # Nobody has been told of it yet; from the next commit on its absence would be a proof.
            self._spool.drop_publish(batch.id)
            logger.bind(event="results_wait", batch_id=batch.id).warning(
                "{}: its results wait for room on the disk: {}", batch.id, error.message
            )
            raise
        batch.journal.set_phase(Phase.PUBLISHING, {"final_name": final_name, "publish_sha256": sha256})

    def is_sealed(self, batch: Batch) -> bool:
        """Whether publish/, which must be there, is what was sealed."""
        is_same = self._spool.seal_publish(batch.id) == batch.journal.meta()["publish_sha256"]
        if not is_same:
            logger.bind(event="results_changed", batch_id=batch.id).warning(
                "{}: its results changed before they were published", batch.id
            )
        return is_same

    def unseal(self, batch: Batch) -> None:
        """Back to work, where it is assembled again. publish/ still stands: its absence would be a proof."""
        batch.journal.set_phase(Phase.IN_PROGRESS, {})

    def finish(self, batch: Batch) -> str:
        """The rename, and what comes after it; the path of the result directory."""
        path = self._spool.publish(batch.id, batch.journal.meta()["final_name"])
        logger.bind(event="published", batch_id=batch.id).info("{} published: {}", batch.id, path)
        self._spool.archive(batch.id)
        self._spool.discard(batch.id)
        batch.journal.close()
        batch.input.close()
        return path

    def delete(self, batch: Batch) -> None:
        """What `finish` left, which has closed it.

        LMDB knows an open journal by the inode of its directory, and a new directory may have that of a
        deleted one at once.
        """
        self._spool.empty_trash(batch.id)

    def _write(self, batch: Batch, facts: BatchFacts, metrics: dict[str, object], page: str) -> None:
        self._spool.begin_publish(batch.id)
        for sentence in flawed_answers(counted_answers(batch.journal.progress(), Extra())):
            logger.bind(event="flawed_answers", batch_id=batch.id).info("{}: {}", batch.id, sentence)
        draft = _Draft(self._spool, batch)
        try:
            draft.write_retry(draft.write_lines())
            draft.write_whole("batch.json", dumps(batch_object(facts)) + b"\n")
            draft.write_whole("report.html", page.encode())
            draft.write_whole("metrics.json", dumps({**metrics, "files": draft.figures()}) + b"\n")
        except OSError as error:
            kind = NoSpaceError if error.errno in _NO_SPACE else SpoolError
            raise kind(
                f"The results of {batch.id} cannot be written: {error.strerror}.",
                "Mend the disk or free some space, and start batchd again; nothing is lost.",
            ) from error


class _Draft:
    """The files of one publish/, each tallied while it is written."""

    def __init__(self, spool: Spool, batch: Batch) -> None:
        self._spool = spool
        self._batch = batch
        self._tallies: dict[str, Tally] = {}

    def figures(self) -> dict[str, object]:
        """What proves the files that are written so far."""
        return {name: tally.figures() for name, tally in self._tallies.items()}

    def write_lines(self) -> "array[int]":
        """Answers, errors and rejected answers, in input order; the indices of the failed lines."""
        journal = self._batch.journal
        total = journal.progress().total
        failed = array("I")
        with ExitStack() as files:
            # A file that would be empty is not made: `output_file_id` is then null, as OpenAI does.
            opened: dict[str, _Write] = {}

            def add(name: str, line: bytes) -> None:
                if name not in opened:
                    opened[name] = self._create(name, files)
                opened[name](line + b"\n")

            expected = 0
            for index, is_error, outcome in journal.results():
                if index != expected:
                    raise _gap(self._batch.id, expected)
                expected += 1
                line, rejected = parted(outcome)
                add(ERRORS if is_error else OUTPUT, line)
                if rejected is not None:
                    add(REJECTED, rejected)
                if is_error:
                    failed.append(index)
            if expected != total:
                raise _gap(self._batch.id, expected)
        return failed

    def write_retry(self, failed: Sequence[int]) -> None:
        """The request lines that were understood and have no answer, ready to be handed in again."""
        source = self._batch.input
        with ExitStack() as files:
            write: _Write | None = None
            for row in _rows(self._batch, failed):
                if row.group < 0:
                    continue
                if write is None:
                    write = self._create(RETRY, files)
                source.seek(row.offset)
                write(source.read(row.length) + b"\n")

    def write_whole(self, name: str, content: bytes) -> None:
        with ExitStack() as files:
            self._create(name, files)(content)

    def _create(self, name: str, files: ExitStack) -> _Write:
        file = files.enter_context(self._spool.create_result(self._batch.id, name))
        tally = self._tallies[name] = Tally()

        def write(content: bytes) -> None:
            tally.add(content)
            file.write(content)

        return write


def _rows(batch: Batch, indices: Sequence[int]) -> Iterator[LineRow]:
    for start in range(0, len(indices), RETRY_BLOCK_LINES):
        yield from batch.journal.read_lines(indices[start : start + RETRY_BLOCK_LINES])


def _gap(batch_id: str, index: int) -> JournalError:
    return JournalError(
        f"Line index {index} of {batch_id} has no outcome, so nothing is published.",
        "This is a bug of batchd. Keep the batch's directory and report it.",
    )
