"""Closing: why a batch ends before all its requests have run, or waits; said once, and kept in its journal.

SUMMARY
    close_early   what is pending ends with this fault
    pause_batch   nothing new is sent
    go_on         the end of a pause

DIAGNOSTICS
    Fatal: JournalError.
"""

from dataclasses import replace

from batchd.core.fault import Category, ModelFault, Refusal
from batchd.core.pause import NOT_PAUSED, PAUSE, Pause
from batchd.core.record import Event, Progress
from batchd.core.result import BatchFacts
from batchd.core.summary import Acceptance, facts_of
from batchd.daemon.ports import Batch

REFUSED = ModelFault(
    Category.VALIDATION,
    "This request was not executed because the batch failed; see 'errors' in batch.json.",
    is_temporary=False,
    code="batch_failed",
)
EXPIRED = ModelFault(
    Category.EXPIRED,
    "This request could not be executed before the completion window expired.",
    is_temporary=False,
)
CANCELLED = ModelFault(
    Category.CANCELLED, "This request was not executed because the batch was cancelled.", is_temporary=False
)

OUTGROWN = ModelFault(
    Category.CANCELLED,
    "This request was not executed because its batch took more of the disk than there is for it: hand the "
    "rest in again, in parts (retry.jsonl has it).",
    is_temporary=False,
)

#: OpenAI's word for a batch that ended so.
ENDED = {None: "completed", EXPIRED: "expired", CANCELLED: "cancelled", REFUSED: "failed", OUTGROWN: "failed"}

#: The event that makes a closing outlive the daemon: its new value is the word for it.
CLOSING = "closing"


def close_early(batch: Batch, fault: ModelFault, now: float) -> None:
    """What is pending in this batch ends with this fault. The first reason stands, also after a restart."""
    if batch.closing is None:
        batch.closing = fault
        batch.journal.log_event(Event(now, CLOSING, "in_progress", ENDED[fault], fault.message))


def fault_of(closing: Event) -> ModelFault:
    """The fault of a closing of an earlier life of the daemon."""
    found = [fault for fault, word in ENDED.items() if fault is not None and word == closing.new]
    return next((fault for fault in found if fault.message == closing.cause), found[0])


def closings_of(batch: Batch) -> list[Event]:
    """Why it ended early: the first counts."""
    return [event for event in batch.journal.events() if event.name == CLOSING]


def facts_at_end(batch: Batch, acceptance: Acceptance, progress: Progress, now: float) -> BatchFacts:
    """For `batch.json`, with the moments that its journal and this one tell."""
    status = ENDED[batch.closing]
    moments = {
        "in_progress_at": float(batch.journal.meta()["in_progress_at"]),
        "finalizing_at": now,
        f"{status}_at": now,
    }
    if batch.closing is CANCELLED:
        moments["cancelling_at"] = next((event.at for event in closings_of(batch)), now)
    if batch.closing is OUTGROWN:
        refusal = Refusal("batch_outgrown", OUTGROWN.message)
        acceptance = replace(acceptance, refusals=(refusal,))
    return facts_of(batch.id, acceptance, progress, status, moments)


def pause_batch(batch: Batch, pause: Pause) -> None:
    """Nothing new of this batch is sent until somebody resumes it. The first reason stands."""
    if batch.pause is None:
        batch.pause = pause
        batch.journal.note(PAUSE, pause.to_meta())
        batch.journal.log_event(Event(pause.at, "paused", "in_progress", pause.cause.value, pause.reason))


def go_on(batch: Batch, now: float) -> None:
    """The end of a pause of a batch that was not put away."""
    if batch.pause is not None:
        batch.journal.note(PAUSE, NOT_PAUSED)
        batch.journal.log_event(Event(now, "resumed", batch.pause.cause.value, "in_progress", "asked for"))
        batch.pause = None
