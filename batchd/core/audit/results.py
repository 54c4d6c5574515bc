"""Results: a result directory, line by line, against its own figures and against the file that was handed in.

SUMMARY
    `ResultAudit` takes the lines of output.jsonl, errors.jsonl, rejected.jsonl and retry.jsonl in this order,
    then batch.json in `end`. With `inputs` every line of the batch file is accounted for; without (the
    original is archived only for some days) the ids of the lines still show gaps, doubles and order.

    `audit_files` compares what stands in the directory with the figures in metrics.json.

DIAGNOSTICS
    None raised: everything wrong is a Finding. An OSError of the lines passes through.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping

from batchd.core.audit.finding import REDO_RESULT, Finding, Rule
from batchd.core.audit.outcome import Inputs, Kind, OutcomeLine, content_key, id_key, read_outcome
from batchd.core.json import loads
from batchd.core.magic import CODE as WRONG_TYPE

OUTPUT, ERRORS, RETRY = "output.jsonl", "errors.jsonl", "retry.jsonl"
REJECTED = "rejected.jsonl"
BATCH, METRICS = "batch.json", "metrics.json"

#: No batch is longer; an id that says otherwise is damaged, and must not make us ask for memory.
LINES_MAX = 2**26

_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})

#: The codes of error lines whose answers are kept.
_REJECTED_CODES = frozenset({"invalid_answer", "answer_cut"})

#: What is known of a line index, one bit each.
_ANSWERED, _FAILED, _TO_RETRY = 1, 2, 4


class ResultAudit:
    """One result directory. `place` is where it stands, for the findings."""

    def __init__(self, place: str, batch_id: str, inputs: Inputs | None) -> None:
        self._place = place
        self._batch_id = batch_id
        self._inputs = inputs
        self._known = bytearray(0 if inputs is None else len(inputs))
        self._counts = {OUTPUT: 0, ERRORS: 0}
        self._rejected = array("Q")  # hashes of the custom_ids whose answers were rejected, in input order
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def __repr__(self) -> str:
        return f"<ResultAudit of {self._place}>"

    def outcomes(self, name: str, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Shape, order, doubles, and the custom_id of each line of one of the two files."""
        last = -1
        for number, raw in enumerate(lines, start=1):
            self._counts[name] += 1
            if not raw.endswith(b"\n"):
                yield self._wrong(name, f"Line {number} is cut off: it has no newline.")
            line = read_outcome(raw, self._batch_id)
            if isinstance(line, str):
                yield self._wrong(name, f"Line {number} {line}.")
                continue
            if line.is_error != (name == ERRORS):
                yield self._wrong(name, f"Line {number} belongs into the other file: it is {line.kind}.")
            if line.index <= last:
                yield self._wrong(name, f"Line {number} is not in input order: line index {line.index}.")
            last = line.index
            yield from self._enter(name, number, line)

    def rejected(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """One line for each error line that says so, with its custom_id, in their order."""
        count = 0
        for count, raw in enumerate(lines, start=1):
            if not raw.endswith(b"\n"):
                yield self._wrong(REJECTED, f"Line {count} is cut off: it has no newline.")
            key = id_key(_custom_id_of(raw))
            if count > len(self._rejected) or key != self._rejected[count - 1]:
                yield self._wrong(REJECTED, f"Line {count} is not of the next error line that has one.")
        if count < len(self._rejected):
            left = len(self._rejected) - count
            yield self._wrong(REJECTED, f"The answers of {left} error lines are not in it.")

    def retry(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Each line is the bytes of a failed input line; every request that got no answer is there."""
        count, index = 0, -1
        for count, raw in enumerate(lines, start=1):
            if not raw.endswith(b"\n"):
                yield self._wrong(RETRY, f"Line {count} is cut off: it has no newline.")
            if self._inputs is None:
                continue
            found = self._next_failed(index, content_key(raw.removesuffix(b"\n")), self._inputs)
            if found is None:
                yield self._wrong(RETRY, f"Line {count} is not the next failed line of the original.")
                continue
            yield from self._left_out(index + 1, found)
            index = found
        if self._inputs is not None:
            yield from self._left_out(index + 1, len(self._known))
        elif not self._count_of(_TO_RETRY) <= count <= self._count_of(_FAILED):
            yield self._wrong(RETRY, f"It has {count} lines; that many did not fail.")

    def end(self, raw: bytes | None) -> Iterator[Finding]:
        """Gaps, and batch.json against the recount. `raw` None: there is no batch.json."""
        for index, known in enumerate(self._known):
            if not known & (_ANSWERED | _FAILED):
                yield self._wrong("", f"Line index {index} has no outcome.")
        if raw is None:
            return  # what is missing is named by `audit_files`
        try:
            batch = loads(raw)
        except ValueError:
            batch = None
        if not isinstance(batch, dict):
            yield self._wrong(BATCH, "It is not a JSON object.", Rule.WHOLE_OUTBOX)
            return
        yield from self._compare(batch)

    def _enter(self, name: str, number: int, line: OutcomeLine) -> Iterator[Finding]:
        limit = LINES_MAX if self._inputs is None else len(self._inputs)
        if line.index >= limit:
            yield self._wrong(name, f"Line {number} is of line index {line.index}, which the input lacks.")
            return
        if line.index >= len(self._known):
            self._known.extend(bytes(line.index + 1 - len(self._known)))
        known = self._known[line.index]
        if known:
            yield self._wrong(name, f"Line {number}: line index {line.index} has an outcome already.")
        if self._inputs is not None and not line.is_of_key(self._inputs.ids[line.index]):
            yield self._wrong(name, f"Line {number} has another custom_id than its line in the original.")
        if line.code in _REJECTED_CODES:
            self._rejected.append(id_key(line.custom_id))
        must_retry = line.kind is Kind.UNANSWERED and line.custom_id is not None
        self._known[line.index] = (
            known | (_FAILED if line.is_error else _ANSWERED) | (_TO_RETRY if must_retry else 0)
        )
        self._prompt_tokens += line.prompt_tokens
        self._completion_tokens += line.completion_tokens

    def _next_failed(self, after: int, content: int, inputs: Inputs) -> int | None:
        """The first failed line behind this one with this content."""
        for index in range(after + 1, len(inputs)):
            if inputs.contents[index] == content and self._known[index] & _FAILED:
                return index
        return None

    def _left_out(self, start: int, end: int) -> Iterator[Finding]:
        for index in range(start, end):
            if self._known[index] & _TO_RETRY:
                yield self._wrong(RETRY, f"Line index {index} got no answer and is not in it.")

    def _count_of(self, bit: int) -> int:
        return sum(1 for known in self._known if known & bit)

    def _compare(self, batch: Mapping[str, object]) -> Iterator[Finding]:
        total = len(self._known)
        completed, failed = self._counts[OUTPUT], self._counts[ERRORS]
        expected: dict[str, object] = {
            "id": self._batch_id,
            "object": "batch",
            "output_file_id": OUTPUT if completed else None,
            "error_file_id": ERRORS if failed else None,
        }
        for key, value in expected.items():
            if batch.get(key) != value:
                yield self._wrong(BATCH, f"Its '{key}' is not what it must be.", Rule.WHOLE_OUTBOX)
        if batch.get("status") not in _STATUSES:
            yield self._wrong(BATCH, "Its 'status' is none of an ended batch.", Rule.WHOLE_OUTBOX)
        counts = {"total": total, "completed": completed, "failed": failed}
        if batch.get("request_counts") != counts:
            said = "completed {completed}, failed {failed}, total {total}".format(**counts)
            yield self._wrong(BATCH, f"Its request_counts differ from a recount: {said}.", Rule.COUNTERS)
        usage = batch.get("usage")
        tokens = (self._prompt_tokens, self._completion_tokens)
        if isinstance(usage, dict) and (usage.get("input_tokens"), usage.get("output_tokens")) != tokens:
            said = f"{tokens[0]} and {tokens[1]} tokens"
            yield self._wrong(BATCH, f"Its usage differs from a recount: {said}.", Rule.COUNTERS)

    def _wrong(self, name: str, what: str, rule: Rule = Rule.ONE_OUTCOME) -> Finding:
        return Finding(rule, f"{self._place}/{name}" if name else self._place, what, REDO_RESULT)


def _custom_id_of(raw: bytes) -> str | None:
    try:
        value = loads(raw)
    except ValueError:
        return None
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    return custom_id if isinstance(custom_id, str) else None


def is_of_wrong_type(raw: bytes | None) -> bool:
    """Whether this batch.json says that its input was refused as a whole, so that no line of it was read."""
    try:
        batch = None if raw is None else loads(raw)
    except ValueError:
        return False
    errors = batch.get("errors") if isinstance(batch, dict) else None
    reasons = errors.get("data") if isinstance(errors, dict) else None
    return isinstance(reasons, list) and [
        reason.get("code") for reason in reasons if isinstance(reason, dict)
    ] == [WRONG_TYPE]


def audit_files(
    place: str, there: Mapping[str, Mapping[str, object]], said: Mapping[str, object]
) -> Iterator[Finding]:
    """The figures of the files that are there against those that metrics.json gives. Both without itself."""
    for name in sorted(there.keys() | said.keys()):
        if name not in there:
            what = "It is missing, and metrics.json lists it."
        elif name not in said:
            what = "It is not in the list of metrics.json: nobody wrote it here when the batch was published."
        elif there[name] != said[name]:
            what = f"It is not what was published: {_difference(there[name], said[name])}."
        else:
            continue
        yield Finding(Rule.WHOLE_OUTBOX, f"{place}/{name}", what, REDO_RESULT)


def _difference(there: Mapping[str, object], said: object) -> str:
    published = said if isinstance(said, dict) else {}
    parts = [
        f"{there[key]} {key} instead of {published.get(key)}"
        for key in ("bytes", "lines")
        if there[key] != published.get(key)
    ]
    return ", ".join(parts) or "the same length, other bytes (SHA-256)"
