"""`batchd status`: what the daemon last said of itself.

SUMMARY
    Read from status.json and nothing else: nobody opens a journal to look. A daemon writes the file every
    second or so; one that is older than `OLD_AFTER_S` is shown with a warning, because what it says may have
    changed.

DIAGNOSTICS
    Fatal: ConfigError where there is no status, SpoolError for one that cannot be read.
    Warning: a daemon that stopped, or a status that is old; the exit code is 1.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from batchd.cli.terminal import JsonOption, SpoolOption, put, put_json, put_table, say
from batchd.core.cached import share_words
from batchd.core.pause import way_on
from batchd.core.status import STOPPED, BatchStatus, ModelStatus, StatusReport, duration, parse
from batchd.edges.clock import SystemClock
from batchd.edges.plain import STATUS_BYTES_MAX, read_plain
from batchd.errors import ConfigError
from batchd.settings import load_settings

#: Many times the interval at which a daemon writes: one that is only slow does not seem dead.
OLD_AFTER_S = 15.0

_UNKNOWN = "-"


def status(spool: SpoolOption = None, as_json: JsonOption = False) -> int:
    """Show the daemon, its model, its batches and its inbox.

    What in the inbox cannot be claimed is listed with the reason.

    \b
    Example:
      batchd status
      batchd status --spool /var/spool/batchd --json
    """
    root = load_settings({"spool": spool}).spool
    report = read_report(root)
    if as_json:
        shown = {"age_s": age_s(report), "is_old": is_old(report), "is_running": is_running(report)}
        put_json({**asdict(report), **shown})
    else:
        _show(report, None if spool is None else str(spool), root / "outbox")
    if is_running(report):
        return 0
    say(_end_words(report, root), style="yellow")
    return 1


def read_report(spool: Path) -> StatusReport:
    """What the daemon of this spool last wrote."""
    path = spool / "status.json"
    try:
        return parse(read_plain(path, STATUS_BYTES_MAX))
    except OSError as error:
        raise ConfigError(
            f"There is no status in {spool}: {error.strerror}.",
            "Start `batchd daemon`, or name its spool with --spool.",
        ) from error


def age_s(report: StatusReport) -> float:
    """How long ago it was written; a clock that was set back makes it new."""
    return max(0.0, SystemClock().now() - report.written_at)


def is_old(report: StatusReport) -> bool:
    """Whether the daemon should have written a newer one."""
    return age_s(report) > OLD_AFTER_S


def is_running(report: StatusReport) -> bool:
    """Whether a daemon is at work here, as far as its status tells."""
    return report.state != STOPPED and not is_old(report)


def _end_words(report: StatusReport, root: Path) -> str:
    ago = duration(age_s(report))
    if report.state == STOPPED:
        return f"The daemon of {root} stopped {ago} ago."
    if not Path(f"/proc/{report.pid}").exists():
        return f"This status is {ago} old: the daemon of {root} is gone; there is no process {report.pid}."
    return f"This status is {ago} old: the daemon of {root} has stopped, or hangs."


def _show(report: StatusReport, spool: str | None, outbox: Path) -> None:
    put(f"daemon  {report.state}, process {report.pid}, {duration(age_s(report))} ago")
    if report.servers:
        for server in report.servers:
            put(f"server  {', '.join(_model_words(server))}")
    else:
        put(f"model   {_UNKNOWN if report.model is None else ', '.join(_model_words(report.model))}")
    if report.notice:
        put(f"notice  {report.notice}")
    if report.batches:
        heads = ("batch", "name", "status", "done", "failed", "requests/s", "tokens/s", "cached", "ETA")
        put_table(heads, map(_cells, report.batches))
    else:
        put(f"no batch is at work or waits{_finished_words(outbox)}")
    waiting = [(batch.id, _waits(batch, spool)) for batch in report.batches if batch.detail]
    if waiting:
        put_table(("waits", "because"), waiting)
    piloted = [(batch.id, batch.estimate) for batch in report.batches if batch.estimate]
    if piloted:
        put_table(("began with", "a few lines, to see what the rest takes"), piloted)
    if report.unclaimable:
        put_table(("cannot be claimed", "because"), ((item.name, item.reason) for item in report.unclaimable))
    if report.unclaimable_more:
        put(f"and {report.unclaimable_more:,} more")


def _model_words(model: ModelStatus) -> Iterator[str]:
    yield f"{model.model or 'none'} {model.state}"
    if model.slots is not None and model.window_tokens is not None:
        yield f"{model.slots} x {model.window_tokens:,} tokens"
    yield f"{model.engine} at {model.address}" if model.address else model.engine
    if model.user:
        yield f"run by {model.user}"
    if model.detail:
        yield model.detail


def _waits(batch: BatchStatus, spool: str | None) -> str:
    if batch.is_paused:
        return f"{batch.detail}; to go on, type: {way_on(batch.id, spool)}"
    return batch.detail


def _finished_words(outbox: Path) -> str:
    """Where the finished ones are: who looks for a batch that is done finds it nowhere else."""
    return f"; finished ones lie in {outbox}" if os.path.isdir(outbox) else ""  # noqa: PTH112 - never raises


def _cells(batch: BatchStatus) -> tuple[str, ...]:
    return (
        batch.id,
        batch.name,
        "paused" if batch.is_paused else batch.status,
        f"{batch.completed + batch.failed:,}/{batch.total:,}",
        f"{batch.failed:,}",
        _UNKNOWN if batch.requests_per_s is None else f"{batch.requests_per_s:.1f}",
        _UNKNOWN if batch.tokens_per_s is None else f"{batch.tokens_per_s:,.0f}",
        share_words(batch.cached_share, batch.is_cached_estimated) or _UNKNOWN,
        _UNKNOWN if batch.eta_s is None else duration(batch.eta_s),
    )
