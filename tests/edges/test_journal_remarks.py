"""What nobody waits for is merged as the journal would merge it.

DIAGNOSTICS
    None: tests.
"""

from batchd.core.record import Event
from batchd.edges.journal.remarks import Remarks
from batchd.edges.journal.rows import EVENTS_MAX


class Rows:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self.worked_s: list[float] = []
        self.events: list[Event] = []

    def note(self, name: str, value: str) -> None:
        self.notes.append((name, value))

    def add_worked(self, duration_s: float) -> None:
        self.worked_s.append(duration_s)

    def log_event(self, event: Event) -> None:
        self.events.append(event)


def test_the_latest_value_the_whole_time_and_the_newest_decisions_are_written() -> None:
    remarks, rows = Remarks(), Rows()
    for number in range(EVENTS_MAX + 5):
        remarks.note("peaks", str(number))
        remarks.note("edges", "none")
        remarks.add_worked(0.5)
        remarks.log_event(Event(float(number), "slots", "1", "2", "a decision"))
    assert remarks.size < 8 * 1024**2  # as large as a commit may be
    assert repr(remarks) == f"Remarks(['edges', 'peaks'], {(EVENTS_MAX + 5) / 2:.0f} s, {EVENTS_MAX} events)"
    remarks.apply(rows)  # type: ignore[arg-type]  # what is used of the rows
    assert rows.notes == [("peaks", str(EVENTS_MAX + 4)), ("edges", "none")]
    assert rows.worked_s == [(EVENTS_MAX + 5) / 2]
    assert [rows.events[0].at, rows.events[-1].at, len(rows.events)] == [5.0, EVENTS_MAX + 4.0, EVENTS_MAX]


def test_no_time_is_no_change_of_the_counters() -> None:
    rows = Rows()
    Remarks().apply(rows)  # type: ignore[arg-type]  # what is used of the rows
    assert (rows.notes, rows.worked_s, rows.events) == ([], [], [])
