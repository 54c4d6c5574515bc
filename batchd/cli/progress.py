"""Progress of a batch, for a person who watches: a bar on a terminal, plain lines elsewhere.

SUMMARY
    Both are fed with the daemon's own status report, once a second, and both write to standard error.

DIAGNOSTICS
    None.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from batchd.core.status import BatchStatus, StatusReport, duration

#: Plain lines come this often at most: a log file of a long run stays readable.
PLAIN_INTERVAL_S = 30.0

Show = Callable[[StatusReport], None]


@contextmanager
def progress_display() -> Iterator[Show]:
    """A function to hand reports to."""
    if sys.stderr.isatty():
        with _Bars() as bars:
            yield bars.show
    else:
        yield _Lines().show


@contextmanager
def fetch_display() -> Iterator[Callable[[int, int], None]]:
    """A function to hand (bytes so far, bytes in all) to."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("fetching"), BarColumn(bar_width=24), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def rates(batch: BatchStatus) -> str:
    """`12.3 requests/s · 4,567 tokens/s · 97 % cached · 4 min left`; what is not known is left out."""
    parts = []
    if batch.requests_per_s is not None:
        parts.append(f"{batch.requests_per_s:,.1f} requests/s")
    if batch.tokens_per_s is not None:
        parts.append(f"{batch.tokens_per_s:,.0f} tokens/s")
    if batch.cached_share is not None:
        parts.append(f"{batch.cached_share:.1%} cached")
    if batch.eta_s is not None:
        parts.append(f"{duration(batch.eta_s)} left")
    return " · ".join(parts)


class _Bars:
    """One bar for each batch."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rates]}"),
            console=Console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._progress.stop()

    def show(self, report: StatusReport) -> None:
        present = {batch.id for batch in report.batches}
        for batch in report.batches:
            if batch.id not in self._bars:
                self._bars[batch.id] = self._progress.add_task(batch.name, total=batch.total, rates="")
            self._totals[batch.id] = batch.total
            is_loading = report.model is not None and report.model.state != "resident"
            words = f"model {report.model.state}" if is_loading and report.model else rates(batch)
            done = batch.completed + batch.failed
            self._progress.update(self._bars[batch.id], total=batch.total, completed=done, rates=words)
        for batch_id in self._bars.keys() - present:
            self._progress.update(self._bars[batch_id], completed=self._totals[batch_id], rates="published")


class _Lines:
    """One line for each batch now and then."""

    def __init__(self) -> None:
        self._said_at = -PLAIN_INTERVAL_S
        self._ids: frozenset[str] = frozenset()

    def show(self, report: StatusReport) -> None:
        ids = frozenset(batch.id for batch in report.batches)
        now = time.perf_counter()
        if ids == self._ids and now - self._said_at < PLAIN_INTERVAL_S:
            return
        self._ids, self._said_at = ids, now
        for batch in report.batches:
            done = batch.completed + batch.failed
            words = rates(batch)
            line = f"{batch.name}: {done:,} of {batch.total:,} done, {batch.failed:,} failed"
            sys.stderr.write(f"{line}{' · ' if words else ''}{words}\n")
