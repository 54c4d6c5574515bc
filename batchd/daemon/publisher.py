"""Publisher: from a finished batch to its directory in the outbox.

SUMMARY
    `assemble` writes the result files in input order from the journal, checks that every line has exactly one
    outcome, and seals them; then the final name and the hash become durable with the phase `publishing`.
    `finish` makes the one rename, archives the original and discards the rest; it may be repeated after a
    crash, because an absent publish/ is the proof of publication.

DIAGNOSTICS
    Fatal: SpoolError, JournalError; a line without an outcome is a JournalError, and nothing is published.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO

from loguru import logger

from batchd.core.json import dumps
from batchd.core.lifecycle import Phase
from batchd.core.record import LineRow
from batchd.core.result import BatchFacts, batch_object
from batchd.daemon.ports import Batch, Spool
from batchd.errors import JournalError, SpoolError

#: Rows of failed lines are read from the journal in blocks of this many, for `retry.jsonl`.
RETRY_BLOCK_LINES = 1_000

OUTPUT = "output.jsonl"
ERRORS = "errors.jsonl"
RETRY = "retry.jsonl"


class Publisher:
    """Assembles and publishes. All methods block; run them beside the event loop."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def assemble(self, batch: Batch, final_name: str, facts: BatchFacts, metrics: dict[str, object]) -> None:
        """Write publish/, seal it, and make name and hash durable."""
        try:
            self._write(batch, facts, metrics)
        except OSError as error:
            raise SpoolError(
                f"The results of {batch.id} cannot be written: {error.strerror}.",
                "Mend the disk or free some space, and start batchd again; nothing is lost.",
            ) from error
        sha256 = self._spool.seal_publish(batch.id)
        batch.journal.set_phase(Phase.PUBLISHING, {"final_name": final_name, "publish_sha256": sha256})

    def _write(self, batch: Batch, facts: BatchFacts, metrics: dict[str, object]) -> None:
        self._spool.begin_publish(batch.id)
        empty = batch.journal.progress().spent.empty_answers
        if empty:
            logger.warning("{}: {} answers are empty", batch.id, empty)
        failed = self._write_lines(batch)
        self._write_retry(batch, failed)
        with self._spool.create_result(batch.id, "batch.json") as file:
            file.write(dumps(batch_object(facts)) + b"\n")
        with self._spool.create_result(batch.id, "metrics.json") as file:
            file.write(dumps(metrics) + b"\n")

    def finish(self, batch: Batch) -> str:
        """The rename, and what comes after it; the path of the result directory."""
        path = self._spool.publish(batch.id, batch.journal.meta()["final_name"])
        logger.info("{} published: {}", batch.id, path)
        self._spool.archive(batch.id)
        batch.journal.close()
        batch.input.close()
        self._spool.discard(batch.id)
        return path

    def _write_lines(self, batch: Batch) -> "array[int]":
        """Both result files, in input order; the indices of the failed lines."""
        total = batch.journal.progress().total
        failed = array("I")
        with ExitStack() as files:
            # A file that would be empty is not made: `output_file_id` is then null, as OpenAI does.
            opened: dict[bool, BinaryIO] = {}
            expected = 0
            for index, is_error, line in batch.journal.results():
                if index != expected:
                    raise _gap(batch.id, expected)
                expected += 1
                if is_error not in opened:
                    name = ERRORS if is_error else OUTPUT
                    opened[is_error] = files.enter_context(self._spool.create_result(batch.id, name))
                opened[is_error].write(line + b"\n")
                if is_error:
                    failed.append(index)
            if expected != total:
                raise _gap(batch.id, expected)
        return failed

    def _write_retry(self, batch: Batch, failed: Sequence[int]) -> None:
        """The request lines that were understood and have no answer, ready to be handed in again."""
        with ExitStack() as files:
            file: BinaryIO | None = None
            for row in _rows(batch, failed):
                if row.group < 0:
                    continue
                if file is None:
                    file = files.enter_context(self._spool.create_result(batch.id, RETRY))
                batch.input.seek(row.offset)
                file.write(batch.input.read(row.length) + b"\n")


def _rows(batch: Batch, indices: Sequence[int]) -> Iterator[LineRow]:
    for start in range(0, len(indices), RETRY_BLOCK_LINES):
        yield from batch.journal.read_lines(indices[start : start + RETRY_BLOCK_LINES])


def _gap(batch_id: str, index: int) -> JournalError:
    return JournalError(
        f"Line index {index} of {batch_id} has no outcome, so nothing is published.",
        "This is a bug of batchd. Keep the batch's directory and report it.",
    )
