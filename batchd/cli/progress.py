"""Progress of a batch, for a person who watches: a bar on a terminal, plain lines elsewhere.

SUMMARY
    Both are fed with the daemon's own status report, once a second, and both write to standard error.

DIAGNOSTICS
    None.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from batchd.core.cached import share_words
from batchd.core.status import BatchStatus, StatusReport, duration
from batchd.core.text import printable

#: Plain lines come this often at most: a log file of a long run stays readable.
PLAIN_INTERVAL_S = 30.0

#: A change is said sooner, but a model that comes and goes does not fill the file either.
PLAIN_CHANGE_S = 5.0

#: Of what the model server said: one line of a terminal.
DETAIL_CHARS_MAX = 120
NAME_CHARS_MAX = 40

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
    if batch.requests_per_s:
        parts.append(f"{batch.requests_per_s:,.1f} requests/s")
    if batch.tokens_per_s:
        parts.append(f"{batch.tokens_per_s:,.0f} tokens/s")
    if cached := share_words(batch.cached_share, batch.is_cached_estimated, 1):
        parts.append(f"{cached} cached")
    if batch.eta_s is not None:
        parts.append(f"{duration(batch.eta_s)} left")
    return " · ".join(parts)


def waiting(report: StatusReport) -> str:
    """Why nothing is answered now; empty while the model is there.

    `model cooling: connection refused; next try in 12 s`.
    """
    model = report.model
    parts = [report.notice] if report.notice else []
    if model is not None and model.state != "resident" and (model.detail or model.state != "absent"):
        words = f"model {model.state}"
        if model.detail:
            words += f": {_cut(model.detail, DETAIL_CHARS_MAX).rstrip('. ')}"
        parts.append(words)
        if model.next_try_at is not None:
            parts.append(f"next try in {duration(model.next_try_at - report.written_at)}")
    return "; ".join(parts)


def pilot_lines(batch: BatchStatus, told: set[str]) -> Iterator[str]:
    """What the pilot of this batch showed, once."""
    if batch.estimate and batch.id not in told:
        told.add(batch.id)
        yield f"{_name(batch)}: {printable(batch.estimate)}"


class _Screen(Progress):
    """Bars, and below them one line that says why they stand still."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note, style="yellow", no_wrap=True, overflow="ellipsis")


class _Bars:
    """One bar for each batch."""

    def __init__(self) -> None:
        # Names come from strangers: nothing in them is markup.
        self._screen = _Screen(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rates]}", markup=False),
            console=Console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._totals: dict[str, int] = {}

    def __enter__(self) -> "_Bars":
        self._screen.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._screen.note = ""
        self._screen.stop()

    def show(self, report: StatusReport) -> None:
        present = {batch.id for batch in report.batches}
        why = waiting(report) if present else ""
        self._screen.note = why
        for batch in report.batches:
            if batch.id not in self._bars:
                self._bars[batch.id] = self._screen.add_task(_name(batch), total=batch.total, rates="")
            self._totals[batch.id] = batch.total
            for line in pilot_lines(batch, self._told):
                self._screen.console.print(Text(line))
            done = batch.completed + batch.failed
            words = batch.detail or ("" if why else rates(batch))
            self._screen.update(self._bars[batch.id], total=batch.total, completed=done, rates=words)
        for batch_id in self._bars.keys() - present:
            self._screen.update(self._bars[batch_id], completed=self._totals[batch_id], rates="published")


class _Lines:
    """One line for each batch now and then, and sooner when it becomes stuck or free."""

    def __init__(self, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._seconds = seconds
        self._said_at = -PLAIN_INTERVAL_S
        self._told: set[str] = set()
        self._said: tuple[frozenset[str], bool] = (frozenset(), False)

    def show(self, report: StatusReport) -> None:
        for batch in report.batches:
            sys.stderr.writelines(line + "\n" for line in pilot_lines(batch, self._told))
        ids = frozenset(batch.id for batch in report.batches)
        why = waiting(report)
        now = self._seconds()
        quiet_s = now - self._said_at
        is_news = (ids, bool(why)) != self._said and quiet_s >= PLAIN_CHANGE_S
        if not (ids - self._said[0] or is_news or quiet_s >= PLAIN_INTERVAL_S):
            return
        self._said, self._said_at = (ids, bool(why)), now
        for batch in report.batches:
            done = batch.completed + batch.failed
            line = f"{_name(batch)}: {done:,} of {batch.total:,} done, {batch.failed:,} failed"
            words = [line, *filter(None, (batch.detail, why or rates(batch)))]
            sys.stderr.write(" · ".join(words) + "\n")


def _name(batch: BatchStatus) -> str:
    return _cut(batch.name, NAME_CHARS_MAX)


def _cut(text: str, chars_max: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= chars_max else f"{shown[: chars_max - 1]}…"
