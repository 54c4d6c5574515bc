"""The journal: the durable memory of one batch, in one LMDB environment.

SUMMARY
    Fits the port `Journal`. An outcome is acknowledged only after the commit that holds it, and after that no
    kill and no power cut takes it back. All writing is done by one thread (`writer`); reading is done by the
    caller, in short transactions. Tables stand in `rows`, the files in `environment`.

    One event loop uses a journal. `record` and `intend` never wait; who calls them keeps the number of
    unacknowledged ones small. `note`, `add_worked` and `log_event` never wait either, and are merged while
    the disk takes nothing. `salvage_from` takes over what is whole of a damaged journal that was put aside.

    To change what is on the disk: raise SCHEMA_VERSION in `core/packing`, even if that wastes a number
    (RESULT_VERSION too where a result row changes), say in CHANGELOG.md what happens to batches at work, and
    change the test that pins the packed bytes. A journal lives as long as its batch, so there is no
    conversion: any other number, newer or older, is refused with the step that helps, nothing of it is
    touched, and the batchd that wrote it finishes it. (There is only version 1 so far.) If batches are ever
    to survive a change, reading the older rows belongs into `rows`, with a test on a kept journal.

DIAGNOSTICS
    Warning: a commit that fails is tried again for some 11 s. While the disk is full it is tried for ever,
    unless the batch is not accepted yet (then it is better to give the space back) or `may_wait` forbids it.
    Fatal: DamagedJournalError, JournalVersionError, or JournalError when a journal cannot be opened, read or
    written; nothing acknowledged is lost.
    Bug: AssertionError for a phase or line index out of order, and for use after `close`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from batchd import failpoints
from batchd.core.lifecycle import NEXT_PHASES, Phase
from batchd.core.provenance import USES, account_of, latest, read_back
from batchd.core.record import Event, LineRow, NewLine, Outcome, Plan, Progress, Salvaged, Shares
from batchd.edges.journal.environment import DATA, Environment
from batchd.edges.journal.rows import VALUE, Changes
from batchd.edges.journal.salvage import notes, whole_results
from batchd.edges.journal.writer import Retry, Writer

__all__ = ["PATIENT", "Journal", "Retry"]

PATIENT = Retry()

#: Salvaged results in one commit: a few MB.
SALVAGE_RESULTS = 1_000


class Journal:
    """One batch's journal. Make one with `create` or `open`; end it with `close`."""

    def __init__(
        self, environment: Environment, retry: Retry, may_wait: Callable[[], bool], is_accepted: bool
    ) -> None:
        self._environment = environment
        self._is_accepted = is_accepted
        self._writer = Writer(environment, retry, lambda: self._is_accepted and may_wait())

    @classmethod
    def create(
        cls, path: str, retry: Retry = PATIENT, may_wait: Callable[[], bool] = lambda: True
    ) -> "Journal":
        """A new journal in a directory of its own, made if need be; its parent must be there."""
        return cls(Environment.create(path), retry, may_wait, is_accepted=False)

    @classmethod
    def open(
        cls, path: str, retry: Retry = PATIENT, may_wait: Callable[[], bool] = lambda: True
    ) -> "Journal":
        """The journal in this directory, checked. One killed while it was made is empty: it has no phase."""
        return cls(Environment.open(path), retry, may_wait, is_accepted=True)

    def __repr__(self) -> str:
        return f"Journal({self._environment!r}, {self._writer!r})"

    def claim_custom_ids(self, custom_ids: Sequence[str | None], first_index: int) -> set[int]:
        return self._writer.run(lambda rows: rows.claim_custom_ids(custom_ids, first_index))

    def add_lines(self, lines: Sequence[NewLine]) -> None:
        self._writer.run(lambda rows: rows.add_lines(lines))

    def accept(self, plan: Plan, meta: Mapping[str, str]) -> None:
        self._assert_next(Phase.READY)
        self._writer.run(lambda rows: rows.accept(plan, meta))
        self._is_accepted = True

    def is_nearly_full(self) -> bool:
        return self._environment.is_nearly_full()

    def phase(self) -> Phase | None:
        with self._environment.read() as rows:
            return rows.phase()

    def set_phase(self, phase: Phase, meta: Mapping[str, str]) -> None:
        assert phase is not Phase.READY, "only accept() ends the intake"
        self._assert_next(phase)
        failpoints.reach("phase.begun")
        self._writer.run(lambda rows: rows.set_phase(phase, meta))
        failpoints.reach("phase.done")

    def note(self, name: str, value: str) -> None:
        self._writer.remark(lambda remarks: remarks.note(name, value))

    def meta(self) -> Mapping[str, str]:
        with self._environment.read() as rows:
            return rows.meta()

    def progress(self) -> Progress:
        with self._environment.read() as rows:
            return rows.progress()

    def plan(self) -> Plan:
        with self._environment.read() as rows:
            return rows.plan()

    def shares(self, groups: Sequence[int]) -> Shares:
        with self._environment.read() as rows:
            return rows.shares(groups)

    def finished(self) -> bytearray:
        with self._environment.read() as rows:
            return rows.finished()

    def attempts(self) -> Mapping[int, tuple[int, int]]:
        with self._environment.read() as rows:
            return rows.attempts()

    def forget_intents(self) -> int:
        return self._writer.run(lambda rows: rows.forget_intents())

    def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
        with self._environment.read() as rows:
            return rows.lines(indices)

    def read_answers(self, indices: Sequence[int]) -> Mapping[int, bytes]:
        with self._environment.read() as rows:
            found = (rows.results(index, 1, 1) for index in indices)
            first = zip(indices, found, strict=True)
            return {
                index: line
                for index, them in first
                for at, is_error, line in them
                if at == index and not is_error
            }

    def results(self) -> Iterator[tuple[int, bool, bytes]]:
        return self._environment.results()

    def record(self, outcome: Outcome) -> "asyncio.Future[None]":
        return self._writer.record(lambda rows: rows.record(outcome), len(outcome.line or b""))

    def intend(self, indices: Sequence[int]) -> "asyncio.Future[None]":
        return self._writer.record(lambda rows: rows.intend(indices), len(indices))

    def add_worked(self, duration_s: float) -> None:
        """Add time in which this batch was worked on; durable with the next commit."""
        self._writer.remark(lambda remarks: remarks.add_worked(duration_s))

    def salvage_from(self, path: str) -> Salvaged:
        """Take over every whole result of a damaged journal that was put aside, and what gave them."""
        found = whole_results(Path(path) / DATA)
        taken = 0
        while block := list(islice(found, SALVAGE_RESULTS)):
            taken += self._writer.run(partial(Changes.restore, found=block))
        read = (read_back(note) for note in notes(Path(path) / DATA, VALUE + USES.encode()))
        accounts = [account for account in read if account is not None]
        if accounts:  # there may be one already, of another journal that was put aside
            uses = latest((*accounts, account_of(self.meta())))
            self._writer.run(lambda rows: rows.note(USES, uses.to_meta()))
        return Salvaged(taken, has_uses=bool(accounts))

    def log_event(self, event: Event) -> None:
        self._writer.remark(lambda remarks: remarks.log_event(event))

    def flush(self) -> None:
        self._writer.run(lambda rows: None)

    def events(self) -> Sequence[Event]:
        with self._environment.read() as rows:
            return rows.events()

    @property
    def waits_for_room(self) -> bool:
        return self._writer.waits_for_room

    @property
    def pulse(self) -> int | None:
        return self._writer.pulse

    def close(self) -> None:
        """Safe to repeat."""
        self._writer.close()
        self._environment.close()

    def _assert_next(self, phase: Phase) -> None:
        """In the caller's thread, so that the bug shows there."""
        before = self.phase()
        assert phase in NEXT_PHASES[before], f"phase {phase} cannot follow {before}"
