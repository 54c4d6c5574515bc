"""What `pause`, `resume` and `cancel` have in common: which batch is meant, and how the daemon is told.

SUMMARY
    A batch is named by its id, by the beginning of one that no other batch has, or by the name of its file.
    Who is in the house is read from status.json; an id that is not there is taken as it is when it is whole,
    for the batch may not have been claimed yet.

DIAGNOSTICS
    Fatal: UsageError for a name that fits no batch, or several; ConfigError where there is no spool.
    Warning: no daemon is at work, so what is asked for takes effect later.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from batchd.cli.status import is_running, read_report
from batchd.cli.terminal import say
from batchd.core.options import is_batch_id
from batchd.core.status import BatchStatus, StatusReport
from batchd.edges.spool import tell
from batchd.errors import ConfigError, SpoolError, UsageError

BatchArgument = Annotated[
    str, typer.Argument(metavar="BATCH", help="Its id, the beginning of one, or the name of its file.")
]

#: A daemon writes its status every second; three of them are enough for a name that was typed right.
LOOK_S = 3.0
_LOOK_INTERVAL_S = 0.2

#: Batches named where a beginning fits several.
_NAMED_MAX = 5


def ask(spool: Path, named: str, verb: str) -> BatchStatus | None:
    """Tell the daemon of this spool; the batch as it last stood, None for one that is not in the house."""
    report, batch = _looked_up(spool, named)
    if batch is None and not is_batch_id(named):
        if report is None:
            read_report(spool)  # raises: it says why there is none, and what to do
        raise UsageError(
            f"No batch of {spool} is called '{named}'.",
            "`batchd status` lists them; one that is not claimed yet goes by the id that submit printed, and "
            "one that is finished lies in the outbox.",
        )
    tell(spool, named if batch is None else batch.id, verb)
    if batch is None:
        say(f"{named} is not in the house. {verb} waits for it, for a week.")
    if report is None or not is_running(report):
        say("No daemon seems to work on this spool: it takes effect when one does.")
    return batch


def _looked_up(spool: Path, named: str) -> tuple[StatusReport | None, BatchStatus | None]:
    """What the daemon shows, and the batch. One that it has just begun is in its next status."""
    until = time.perf_counter() + LOOK_S
    while True:
        report = _report(spool)
        batch = None if report is None else find(report, named)
        is_over = is_batch_id(named) or report is None or not is_running(report)
        if batch is not None or is_over or time.perf_counter() > until:
            return report, batch
        time.sleep(_LOOK_INTERVAL_S)


def find(report: StatusReport, named: str) -> BatchStatus | None:
    """The batch that is meant; None where there is none. UsageError where several may be."""
    whole = [batch for batch in report.batches if batch.id == named]
    begun = [batch for batch in report.batches if batch.id.removeprefix("batch_").startswith(_digits(named))]
    called = [batch for batch in report.batches if batch.name in (named, f"{named}.jsonl")]
    found = whole or called or (begun if _digits(named) else [])
    if len(found) > 1:
        ids = ", ".join(batch.id for batch in found[:_NAMED_MAX])
        raise UsageError(f"'{named}' may be {len(found)} batches: {ids}.", "Give more of the id.")
    return found[0] if found else None


def _digits(named: str) -> str:
    return named.removeprefix("batch_")


def _report(spool: Path) -> StatusReport | None:
    try:
        return read_report(spool)
    except (ConfigError, SpoolError):
        return None
