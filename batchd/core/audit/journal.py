"""Journal: the rows of one batch's journal against each other, against its counters, and against the input.

SUMMARY
    `JournalAudit` takes the rows line by line, in the order of the file (`line`), and says at the end
    whether phase, plan and counters agree with what went by. One byte of memory for each line.

DIAGNOSTICS
    None raised: everything wrong is a Finding.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from batchd.core.audit.finding import REDO_BATCH, Finding, Rule
from batchd.core.audit.outcome import custom_id_of, read_outcome
from batchd.core.lifecycle import Phase
from batchd.core.packing import NEXT_STEP_DAMAGED
from batchd.core.record import LineRow, LineState, LineStatus, Plan, Progress
from batchd.core.rejection import parted
from batchd.core.retry import ATTEMPTS_MAX_MAX, CRASHES_MAX
from batchd.core.summary import from_meta

#: Broken in a journal, these are what recovery notices and mends by itself.
_SALVAGED = frozenset({Rule.ACKNOWLEDGED, Rule.COUNTERS})


@dataclass(slots=True)  # not frozen: it is put together from four tables, a million times
class JournalLine:
    """All that a journal holds of one line. `unreadable` names the rows that could not be unpacked."""

    index: int
    row: LineRow | None = None
    state: LineState | None = None
    result: tuple[bool, bytes] | None = None  # (is_error, line)
    is_inflight: bool = False
    unreadable: tuple[str, ...] = ()


class JournalAudit:
    """The journal of one batch that intake has accepted."""

    def __init__(self, place: str, batch_id: str) -> None:
        self._place = place
        self._batch_id = batch_id
        self._expected = 0
        self._completed = 0
        self._failed = 0
        self._to_send = bytearray()  # 1 for each line that was understood at intake

    def __repr__(self) -> str:
        return f"<JournalAudit of {self._place}>"

    def line(self, line: JournalLine, raw: bytes | None) -> Iterator[Finding]:
        """One line. `raw` is what stands at its place in input.jsonl; None where there is no row for it."""
        if line.index != self._expected:
            yield self._wrong(Rule.ONE_OUTCOME, f"Line index {self._expected} is missing.")
        self._expected = line.index + 1
        for table in line.unreadable:
            rule = Rule.ACKNOWLEDGED if table == "results" else Rule.UNATTENDED
            yield self._wrong(rule, f"Line index {line.index}: its row in '{table}' cannot be read.")
        is_understood = line.row is not None and line.row.group >= 0
        self._to_send.append(is_understood)
        yield from self._check_row(line, raw)
        if line.result is not None:
            yield from self._check_result(line, line.result, raw)
        elif "results" not in line.unreadable:
            yield from self._check_pending(line, is_understood)

    def end(
        self, phase: Phase, progress: Progress, plan: Plan | None, meta: Mapping[str, str]
    ) -> Iterator[Finding]:
        """The whole: counters, plan, and what the phase promises. `plan` None: it cannot be read."""
        counted = (self._expected, self._completed, self._failed)
        if (progress.total, progress.completed, progress.failed) != counted:
            said = f"{counted[1]} completed, {counted[2]} failed, {counted[0]} in all"
            yield self._wrong(Rule.COUNTERS, f"Its counters differ from a recount: {said}.")
        if phase is Phase.PUBLISHING:
            left = self._expected - self._completed - self._failed
            if left:
                yield self._wrong(
                    Rule.ONE_OUTCOME, f"It is being published and {left} lines have no outcome."
                )
            if not {"final_name", "publish_sha256"} <= meta.keys():
                yield self._wrong(Rule.WHOLE_OUTBOX, "It is being published without a final name and a hash.")
        if plan is None or not self._is_whole(plan):
            yield self._wrong(Rule.ONE_OUTCOME, "Its plan is not every understood line once.")

    def _check_row(self, line: JournalLine, raw: bytes | None) -> Iterator[Finding]:
        row = line.row
        if row is None:
            if "reqs" not in line.unreadable:
                yield self._wrong(Rule.ONE_OUTCOME, f"Line index {line.index} has no place in the input.")
            return
        # Of a line over the limit nothing was read, so its sum is that of no bytes.
        is_unread = row.group < 0 and row.crc == 0
        if raw is None or len(raw) != row.length or not (is_unread or zlib.crc32(raw) == row.crc):
            yield self._wrong(
                Rule.ONE_PLACE, f"Line index {line.index}: input.jsonl is not what intake read there."
            )

    def _check_result(
        self, line: JournalLine, result: tuple[bool, bytes], raw: bytes | None
    ) -> Iterator[Finding]:
        is_error, content = result
        self._failed += is_error
        self._completed += not is_error
        where = f"The result of line index {line.index}"
        outcome = read_outcome(parted(content)[0], self._batch_id)
        if isinstance(outcome, str):
            yield self._wrong(Rule.ONE_OUTCOME, f"{where} {outcome}.")
        elif outcome.index != line.index or outcome.is_error != is_error:
            yield self._wrong(Rule.ONE_OUTCOME, f"{where} is another line's, or of the other kind.")
        elif raw is not None and not outcome.is_of(custom_id_of(raw)):
            yield self._wrong(Rule.ONE_OUTCOME, f"{where} has another custom_id than its line.")
        status = LineStatus.FAILED if is_error else LineStatus.COMPLETED
        if line.state is None or line.state.status is not status:
            yield self._wrong(Rule.COUNTERS, f"Line index {line.index} has a result, and its state says no.")
        if line.row is not None and line.row.group < 0 and not is_error:
            yield self._wrong(Rule.ONE_OUTCOME, f"{where} is an answer, and the line is faulty.")
        if line.is_inflight:
            yield self._wrong(Rule.NO_REPEAT, f"Line index {line.index} has a result and is in flight.")

    def _check_pending(self, line: JournalLine, is_understood: bool) -> Iterator[Finding]:
        if line.state is not None and line.state.status is not LineStatus.PENDING:
            yield self._wrong(
                Rule.ACKNOWLEDGED, f"Line index {line.index} is finished by its state, and has no result."
            )
        elif line.state is not None and _is_spent(line.state):
            tried = f"{line.state.attempts} attempts and {line.state.crashes} crashes"
            yield self._wrong(Rule.NO_REPEAT, f"Line index {line.index} is pending after {tried}.")
        if line.row is not None and not is_understood:
            yield self._wrong(
                Rule.ONE_OUTCOME, f"Line index {line.index} is faulty and has no error line: it gets none."
            )

    def _is_whole(self, plan: Plan) -> bool:
        planned = bytearray(self._expected)
        for index in plan.order:
            if index >= self._expected or planned[index]:
                return False
            planned[index] = 1
        return plan.line_count == self._expected and planned == self._to_send

    def _wrong(self, rule: Rule, what: str) -> Finding:
        return Finding(rule, self._place, what, NEXT_STEP_DAMAGED if rule in _SALVAGED else REDO_BATCH)


def _is_spent(state: LineState) -> bool:
    """No settings let such a line be tried once more: it should have its error line."""
    return state.crashes >= CRASHES_MAX or state.attempts >= ATTEMPTS_MAX_MAX


def audit_input(place: str, meta: Mapping[str, str], sha256: str, size_bytes: int) -> Iterator[Finding]:
    """Our copy of the batch file against what intake noted of it."""
    try:
        acceptance = from_meta(meta)
    except (KeyError, ValueError, TypeError):
        yield Finding(Rule.UNATTENDED, f"{place}/journal", "What intake noted cannot be read.", REDO_BATCH)
        return
    if (acceptance.sha256, acceptance.size_bytes) != (sha256, size_bytes):
        what = f"It is not what intake copied: {size_bytes} bytes instead of {acceptance.size_bytes}"
        if size_bytes == acceptance.size_bytes:
            what = "It is not what intake copied: the same length, other bytes (SHA-256)"
        yield Finding(Rule.ONE_PLACE, f"{place}/input.jsonl", f"{what}.", REDO_BATCH)


def audit_partial(
    place: str, batch_id: str, lines: Iterable[bytes], result_of: Callable[[int], bytes | None]
) -> Iterator[Finding]:
    """Answers that were shown: each was durable before. The last line may be torn, for it is not synced."""
    for number, raw in enumerate(lines, start=1):
        if not raw.endswith(b"\n"):
            return
        outcome = read_outcome(raw, batch_id)
        if isinstance(outcome, str):
            what = f"Line {number} {outcome}, and it is not the last."
        elif parted(result_of(outcome.index) or b"")[0] != raw.removesuffix(b"\n"):
            what = f"Line {number} is no answer that the journal has."
        else:
            continue
        yield Finding(Rule.ACKNOWLEDGED, place, what, "Go by the result; if there is none yet, report it.")
