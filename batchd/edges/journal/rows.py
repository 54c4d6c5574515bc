"""The journal's tables, seen through one transaction.

SUMMARY
    meta      schema, phase, counters; the values of accept and set_phase under a prefix of their own
    reqs      line index -> place of the line in the input
    cid       BLAKE2b-128 of custom_id -> line index
    state     line index -> status, attempts, crashes, category; absent for a line never tried
    results   line index -> finished line, with its CRC
    inflight  line index -> nothing: sent, or about to be
    events    counter -> a decision; the newest `EVENTS_MAX`
    plan      its size, its groups, its order in blocks
    shares    "group" or "lane" and its number -> what its answers cost; "pace" -> how many came when
    copies    line index of the original, then that of the copy -> its custom_id and line number

    `Rows` reads, `Changes` writes. The counters are read once for a transaction and written back at its end
    by `seal`, so they change in the same commit as the rows they count.

DIAGNOSTICS
    Fatal: a row that cannot be unpacked raises DamagedJournalError; LMDB's own errors pass to the caller.
    Bug: AssertionError for a line or a phase out of order.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import lmdb

from batchd.core.copies import outcome_of_copy
from batchd.core.lifecycle import NEXT_PHASES, Phase
from batchd.core.packing import (
    NEXT_STEP_DAMAGED,
    custom_id_key,
    pack_copy,
    pack_event,
    pack_group,
    pack_key,
    pack_order,
    pack_progress,
    pack_result,
    pack_row,
    pack_state,
    unpack_copy,
    unpack_event,
    unpack_group,
    unpack_key,
    unpack_order,
    unpack_progress,
    unpack_result,
    unpack_row,
    unpack_state,
)
from batchd.core.record import (
    Event,
    LineRow,
    LineStatus,
    NewLine,
    Outcome,
    Plan,
    Progress,
    Shares,
    count,
    intake_outcome,
    state_after,
)
from batchd.core.salvage import read_back
from batchd.edges.journal.shares import add_share, read_shares
from batchd.errors import DamagedJournalError, JournalError

TABLES = ("meta", "reqs", "cid", "state", "results", "inflight", "events", "plan", "shares", "copies")
Tables = Mapping[str, "lmdb._Database"]

#: Decisions kept: some days of an unhappy model, in about 2 MB.
EVENTS_MAX = 10_000

SCHEMA, PHASE, COUNTERS, VALUE = b"schema", b"phase", b"counters", b"value:"
_PLAN_SIZE, _GROUP, _ORDER = b"size", b"group:", b"order:"
_SIZE = struct.Struct(">QQ")


class Rows:
    """What one transaction can read."""

    def __init__(self, transaction: "lmdb.Transaction[bytes]", tables: Tables) -> None:
        self._transaction = transaction
        self._tables = tables

    def schema(self) -> bytes | None:
        return self._get("meta", SCHEMA)

    def phase(self) -> Phase | None:
        value = self._get("meta", PHASE)
        if value is None:
            return None
        try:
            return Phase(value.decode())
        except ValueError:  # a UnicodeDecodeError is one
            raise DamagedJournalError("The journal's phase cannot be read.", NEXT_STEP_DAMAGED) from None

    def meta(self) -> dict[str, str]:
        try:
            return {key.decode(): value.decode() for key, value in self._run_of("meta", VALUE)}
        except UnicodeDecodeError:
            raise DamagedJournalError("The journal's facts cannot be read.", NEXT_STEP_DAMAGED) from None

    def progress(self) -> Progress:
        return unpack_progress(self._get("meta", COUNTERS) or b"")

    def entries(self, table: str) -> int:
        return self._transaction.stat(self._tables[table])["entries"]

    def plan(self) -> Plan:
        size = self._get("plan", _PLAN_SIZE)
        if size is None:
            raise JournalError("This journal has no plan: intake did not finish.", "Begin the intake again.")
        if len(size) != _SIZE.size:
            raise DamagedJournalError("The journal's plan is not whole.", NEXT_STEP_DAMAGED)
        line_count, group_count = _SIZE.unpack(size)
        groups = tuple(unpack_group(value) for _, value in self._run_of("plan", _GROUP))
        order = unpack_order(value for _, value in self._run_of("plan", _ORDER))
        if len(groups) != group_count or sum(group.count for group in groups) != len(order):
            raise DamagedJournalError("The journal's plan is not whole.", NEXT_STEP_DAMAGED)
        copies = Counter(unpack_key(key[:8]) for key, _ in self._run_of("copies", b""))
        return Plan(line_count, groups, order, dict(copies))

    def finished(self) -> bytearray:
        done = bytearray(self.progress().total)
        pending = LineStatus.PENDING
        for key, value in self._transaction.cursor(self._tables["state"]):
            if (
                value[0] != pending
            ):  # the status is the first byte; unpacking each row would cost five times more
                done[int.from_bytes(key)] = 1
        return done

    def attempts(self) -> dict[int, tuple[int, int]]:
        tried = {}
        pending = LineStatus.PENDING
        for key, value in self._transaction.cursor(self._tables["state"]):
            if value[0] == pending:
                state = unpack_state(value)
                tried[unpack_key(key)] = (state.attempts, state.crashes)
        return tried

    def lines(self, indices: Sequence[int]) -> list[LineRow]:
        values = [self._get("reqs", pack_key(index)) for index in indices]
        rows = [unpack_row(value) for value in values if value is not None]
        if len(rows) != len(indices):
            raise DamagedJournalError("This journal has no such line.", NEXT_STEP_DAMAGED)
        return rows

    def shares(self, groups: Sequence[int]) -> Shares:
        return read_shares(self._transaction, self._tables["shares"], groups)

    def results(self, first: int, rows_max: int, bytes_max: int) -> list[tuple[int, bool, bytes]]:
        """A slice of the results from this index on, in order; empty at the end."""
        found: list[tuple[int, bool, bytes]] = []
        with self._transaction.cursor(self._tables["results"]) as cursor:
            is_there = cursor.set_range(pack_key(first))
            size = 0
            while is_there and len(found) < rows_max and size < bytes_max:
                index = unpack_key(cursor.key())
                is_error, line = unpack_result(index, cursor.value())
                found.append((index, is_error, line))
                size += len(line)
                is_there = cursor.next()
        return found

    def first_of_last_results(self, rows_max: int) -> int:
        """The index from which on at most this many results stand."""
        first = 0
        with self._transaction.cursor(self._tables["results"]) as cursor:
            is_there, seen = cursor.last(), 0
            while is_there and seen < rows_max:
                first, seen = unpack_key(cursor.key()), seen + 1
                is_there = cursor.prev()
        return first

    def events(self) -> list[Event]:
        return [unpack_event(value) for _, value in self._transaction.cursor(self._tables["events"])]

    def _get(self, table: str, key: bytes) -> bytes | None:
        return self._transaction.get(key, db=self._tables[table])

    def _run_of(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows whose key begins so, in order; keys without the prefix."""
        with self._transaction.cursor(self._tables[table]) as cursor:
            is_there = cursor.set_range(prefix)
            while is_there and cursor.key().startswith(prefix):
                yield cursor.key().removeprefix(prefix), cursor.value()
                is_there = cursor.next()


class Changes(Rows):
    """What one write transaction can change. `seal` writes the counters and comes last."""

    def __init__(self, transaction: "lmdb.Transaction[bytes]", tables: Tables) -> None:
        super().__init__(transaction, tables)
        self._counted = self.progress()

    def seal(self) -> None:
        self._put("meta", COUNTERS, pack_progress(self._counted))

    def claim_custom_ids(self, custom_ids: Sequence[str | None], first_index: int) -> set[int]:
        rows = [
            (index, custom_id_key(custom_id), pack_key(index))
            for index, custom_id in enumerate(custom_ids, start=first_index)
            if custom_id is not None
        ]
        with self._transaction.cursor(self._tables["cid"]) as cursor:
            _, added = cursor.putmulti([(key, value) for _, key, value in rows], overwrite=False)
        if added == len(rows):
            return set()
        # Its own row, from a try that was committed without our knowing, is not another line's.
        return {index for index, key, value in rows if self._get("cid", key) != value}

    def add_lines(self, lines: Sequence[NewLine]) -> None:
        total = self._counted.total
        for expected, new in enumerate(lines, start=total):
            assert new.index == expected, f"line index {new.index} after {expected} lines"
        rows = [(pack_key(new.index), pack_row(new.row)) for new in lines]
        with self._transaction.cursor(self._tables["reqs"]) as cursor:
            _, added = cursor.putmulti(rows, append=True)
        assert added == len(rows), f"{added} of {len(rows)} lines were new"
        self._counted = replace(self._counted, total=total + added)
        for new in lines:
            if new.copy is not None:
                key = pack_key(new.copy.original) + pack_key(new.index)
                self._put("copies", key, pack_copy(new.copy.custom_id, new.row.number))
            if (outcome := intake_outcome(new)) is not None:
                self.record(outcome)

    def accept(self, plan: Plan, meta: Mapping[str, str]) -> None:
        for number, group in enumerate(plan.groups):
            self._put("plan", _GROUP + pack_key(number), pack_group(group))
        for number, block in enumerate(pack_order(plan.order)):
            self._put("plan", _ORDER + pack_key(number), block)
        self._put("plan", _PLAN_SIZE, _SIZE.pack(plan.line_count, len(plan.groups)))
        self.set_phase(Phase.READY, meta)

    def set_phase(self, phase: Phase, meta: Mapping[str, str]) -> None:
        before = self.phase()
        assert phase in NEXT_PHASES[before], f"phase {phase} cannot follow {before}"
        self._put("meta", PHASE, phase.encode())
        for name, value in meta.items():
            self.note(name, value)

    def note(self, name: str, value: str) -> None:
        self._put("meta", VALUE + name.encode(), value.encode())

    def record(self, outcome: Outcome) -> None:
        """The first result of a line wins; nothing that comes later is counted. Its copies get theirs too."""
        index, line = outcome.index, outcome.line
        assert index < self._counted.total, f"no line {index}"
        key = pack_key(index)
        self._transaction.delete(key, db=self._tables["inflight"])
        if line is None:
            is_new = self._get("results", key) is None
        else:
            is_new = self._put("results", key, pack_result(index, line, outcome.is_error), overwrite=False)
        if is_new:
            self._put("state", key, pack_state(state_after(outcome)))
            self._counted = count(self._counted, outcome)
            if outcome.place is not None:
                add_share(self._transaction, self._tables["shares"], outcome.place, outcome.spent)
        if is_new and line is not None:
            for rest, value in list(self._run_of("copies", key)):
                self.record(outcome_of_copy(outcome, unpack_key(rest), *unpack_copy(value)))

    def restore(self, found: Sequence[tuple[int, bool, bytes]]) -> int:
        """Results from elsewhere, where they belong to the line of that index; how many were missing here."""
        before = self._counted.completed + self._counted.failed
        for index, is_error, line in found:
            custom_id, spent = read_back(line)
            if custom_id is not None and self._get("cid", custom_id_key(custom_id)) == pack_key(index):
                self.record(Outcome(index, line, is_error, spent=spent))
        return self._counted.completed + self._counted.failed - before

    def intend(self, indices: Sequence[int]) -> None:
        for index in indices:
            self._put("inflight", pack_key(index), b"")

    def forget_intents(self) -> int:
        forgotten = self.entries("inflight")
        self._transaction.drop(self._tables["inflight"], delete=False)
        return forgotten

    def add_worked(self, duration_s: float) -> None:
        self._counted = replace(self._counted, worked_s=self._counted.worked_s + duration_s)

    def log_event(self, event: Event) -> None:
        with self._transaction.cursor(self._tables["events"]) as cursor:
            number = unpack_key(cursor.key()) + 1 if cursor.last() else 0
            cursor.put(pack_key(number), pack_event(event), append=True)
            while self.entries("events") > EVENTS_MAX and cursor.first():
                cursor.delete()

    def _put(self, table: str, key: bytes, value: bytes, *, overwrite: bool = True) -> bool:
        return self._transaction.put(key, value, overwrite=overwrite, db=self._tables[table])
