"""Remarks: changes of the journal that nobody waits for, merged while they wait for the disk.

SUMMARY
    A disk may be full for days, and every second of them has something to say: the time that was worked, a
    decision, a value that changed. What waits for the same commit is merged as the journal itself would merge
    it: the latest value of each name, the sum of the times, the newest of the events. So the memory that it
    takes has a bound, however long it waits.

DIAGNOSTICS
    None.
"""

from collections import deque

from batchd.core.record import Event
from batchd.edges.journal.rows import EVENTS_MAX, Changes

#: What a note or an event is taken for in the size of a commit, in bytes: they are some hundreds.
_REMARK_BYTES = 512


class Remarks:
    """Those between two changes that somebody waits for; they become durable in one commit."""

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}
        self._worked_s = 0.0
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)

    def __repr__(self) -> str:
        return f"Remarks({sorted(self._notes)}, {self._worked_s:.0f} s, {len(self._events)} events)"

    @property
    def size(self) -> int:
        """In bytes, roughly."""
        return _REMARK_BYTES * (len(self._notes) + len(self._events))

    def note(self, name: str, value: str) -> None:
        """The value that this name has from now on. Names are few and ours."""
        self._notes[name] = value

    def add_worked(self, duration_s: float) -> None:
        """So much more time."""
        self._worked_s += duration_s

    def log_event(self, event: Event) -> None:
        """Beyond what the journal keeps, the oldest go, as they would there."""
        self._events.append(event)

    def apply(self, rows: Changes) -> None:
        """Write them."""
        for name, value in self._notes.items():
            rows.note(name, value)
        if self._worked_s:
            rows.add_worked(self._worked_s)
        for event in self._events:
            rows.log_event(event)
