"""A journal in memory. It passes the same contract tests as the real one; it only forgets at the end.

DIAGNOSTICS
    Bug: AssertionError for a phase or a line index out of order, and for use after `close`.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from batchd.core.copies import outcome_of_copy
from batchd.core.curve import Curve
from batchd.core.lifecycle import NEXT_PHASES, Phase
from batchd.core.provenance import USES
from batchd.core.record import (
    NO_PROGRESS,
    Event,
    LineRow,
    LineState,
    LineStatus,
    NewLine,
    Outcome,
    Plan,
    Progress,
    Salvaged,
    Share,
    Shares,
    count,
    intake_outcome,
    state_after,
)
from batchd.errors import JournalError

EVENTS_MAX = 10_000


class MemoryJournal:
    """Dictionaries where the real one has tables; an acknowledgement comes one turn of the loop later."""

    def __init__(self) -> None:
        self._custom_ids: dict[str, int] = {}
        self._rows: list[LineRow] = []
        self._states: dict[int, LineState] = {}
        self._results: dict[int, tuple[bool, bytes]] = {}
        self._inflight: set[int] = set()
        self._shares = Shares({}, {}, Curve())
        self._copies: dict[int, dict[int, str]] = {}
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._plan: Plan | None = None
        self._phase: Phase | None = None
        self.nearly_full = False
        self._meta: dict[str, str] = {}
        self._progress = NO_PROGRESS
        self._is_closed = False
        self.salvageable: list[tuple[int, bool, bytes]] = []
        self.salvageable_uses = ""

    def claim_custom_ids(self, custom_ids: Sequence[str | None], first_index: int) -> set[int]:
        self._assert_open()
        taken = set()
        for index, custom_id in enumerate(custom_ids, start=first_index):
            if custom_id is not None and self._custom_ids.setdefault(custom_id, index) != index:
                taken.add(index)
        return taken

    def add_lines(self, lines: Sequence[NewLine]) -> None:
        self._assert_open()
        for new in lines:
            assert new.index == len(self._rows), f"line index {new.index} after {len(self._rows)} lines"
            self._rows.append(new.row)
            self._progress = replace(self._progress, total=len(self._rows))
            if new.copy is not None:
                self._copies.setdefault(new.copy.original, {})[new.index] = new.copy.custom_id
            if (outcome := intake_outcome(new)) is not None:
                self._apply(outcome)

    def accept(self, plan: Plan, meta: Mapping[str, str]) -> None:
        self._change_phase(Phase.READY, meta)
        self._plan = plan

    def is_nearly_full(self) -> bool:
        return self.nearly_full

    def phase(self) -> Phase | None:
        return self._phase

    def set_phase(self, phase: Phase, meta: Mapping[str, str]) -> None:
        assert phase is not Phase.READY, "only accept() ends the intake"
        self._change_phase(phase, meta)

    def note(self, name: str, value: str) -> None:
        self._assert_open()
        self._meta[name] = value

    def meta(self) -> Mapping[str, str]:
        return dict(self._meta)

    def progress(self) -> Progress:
        return self._progress

    def plan(self) -> Plan:
        if self._plan is None:
            raise JournalError("This journal has no plan: intake did not finish.", "Begin the intake again.")
        return replace(self._plan, copies={index: len(copies) for index, copies in self._copies.items()})

    def shares(self, groups: Sequence[int]) -> Shares:
        return replace(
            self._shares, groups={n: self._shares.groups[n] for n in groups if n in self._shares.groups}
        )

    def finished(self) -> bytearray:
        return bytearray(index in self._results for index in range(len(self._rows)))

    def attempts(self) -> Mapping[int, tuple[int, int]]:
        return {
            index: (state.attempts, state.crashes)
            for index, state in sorted(self._states.items())
            if state.status is LineStatus.PENDING
        }

    def salvage_from(self, path: str) -> Salvaged:
        self._assert_open()
        before = len(self._results)
        for index, is_error, line in self.salvageable:
            self._apply(Outcome(index, line, is_error))
        if self.salvageable_uses:
            self.note(USES, self.salvageable_uses)
        return Salvaged(len(self._results) - before, bool(self.salvageable_uses))

    def forget_intents(self) -> int:
        self._assert_open()
        forgotten = len(self._inflight)
        self._inflight.clear()
        return forgotten

    def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
        if any(index >= len(self._rows) for index in indices):
            raise JournalError("This journal has no such line.", "Begin the intake again.")
        return [self._rows[index] for index in indices]

    def read_answers(self, indices: Sequence[int]) -> Mapping[int, bytes]:
        found = ((index, self._results.get(index, (True, b""))) for index in indices)
        return {index: line for index, (is_error, line) in found if not is_error}

    def results(self) -> Iterator[tuple[int, bool, bytes]]:
        for index in sorted(self._results):
            yield index, *self._results[index]

    def record(self, outcome: Outcome) -> asyncio.Future[None]:
        self._assert_open()
        self._inflight.discard(outcome.index)
        if outcome.index not in self._results:
            self._apply(outcome)
        return _acknowledged()

    def intend(self, indices: Sequence[int]) -> asyncio.Future[None]:
        self._assert_open()
        self._inflight.update(indices)
        return _acknowledged()

    def add_worked(self, duration_s: float) -> None:
        self._assert_open()
        self._progress = replace(self._progress, worked_s=self._progress.worked_s + duration_s)

    def log_event(self, event: Event) -> None:
        self._assert_open()
        self._events.append(event)

    def flush(self) -> None:
        self._assert_open()

    def events(self) -> Sequence[Event]:
        return tuple(self._events)

    @property
    def waits_for_room(self) -> bool:
        return False

    @property
    def pulse(self) -> int | None:
        return None

    def close(self) -> None:
        self._is_closed = True

    def _apply(self, outcome: Outcome) -> None:
        assert outcome.index < len(self._rows), f"no line {outcome.index}"
        self._states[outcome.index] = state_after(outcome)
        self._progress = count(self._progress, outcome)
        if outcome.place is not None:
            place, shares = outcome.place, self._shares
            self._shares = Shares(
                {
                    **shares.groups,
                    place.group: shares.groups.get(place.group, Share()).with_answer(outcome.spent),
                },
                {
                    **shares.lanes,
                    place.lane: shares.lanes.get(place.lane, Share()).with_answer(outcome.spent),
                },
                shares.pace.with_answer(place.at),
            )
        if outcome.line is not None:
            self._results[outcome.index] = (outcome.is_error, outcome.line)
            for copy, custom_id in self._copies.get(outcome.index, {}).items():
                if copy not in self._results:
                    self._apply(outcome_of_copy(outcome, copy, custom_id, self._rows[copy].number))

    def _change_phase(self, phase: Phase, meta: Mapping[str, str]) -> None:
        self._assert_open()
        assert phase in NEXT_PHASES[self._phase], f"phase {phase} cannot follow {self._phase}"
        self._phase = phase
        self._meta.update(meta)

    def _assert_open(self) -> None:
        assert not self._is_closed, "the journal is closed"


def _acknowledged() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.call_soon(lambda: None if done.done() else done.set_result(None))
    return done
