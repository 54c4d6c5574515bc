"""The sieve: what becomes of each line of one file, with the rules that need the lines before it.

SUMMARY
    The batch has the url of its first valid line, and under `strict` its model too. It may name many models,
    but not without end, because each is a load, and its name is held until the batch is done. Whether a
    custom_id was seen before is asked elsewhere: intake asks its journal, `batchd check` a set.

    The schema that an answer shall have is looked at once, where that can be ended (`LookAt`): a line whose
    schema is none is refused.

DIAGNOSTICS
    None raised: every bad line is a value.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from batchd.core.fault import LineFault, Refusal
from batchd.core.json import loads
from batchd.core.lines import Line, too_long_fault
from batchd.core.request import (
    Endpoint,
    LineLimits,
    Request,
    mismatched_model,
    parse_line,
    schema_text,
    surplus_model,
    unusable_schema,
)
from batchd.core.schema import SchemaFault, read_schema

#: Models of one batch. Nobody has a thousand; a file that names one in each line would fill the memory.
MODELS_MAX = 1_000

#: Schemas whose verdict is remembered. Most batches have one; of those that have one for each line none is
#: remembered for long.
SCHEMAS_REMEMBERED_MAX = 1_024

#: Processor time that the schemas of one file may take to be read: so much, and so much more for each line.
#: An honest one takes 0.3 ms. Without it a file of costly schemas would hold up the intake for days.
SCHEMAS_CPU_S_MAX = 60.0
SCHEMA_CPU_S_EACH = 0.002


class Looked(NamedTuple):
    """What a look at a schema found: why it cannot be used, as a phrase, and the processor time it took."""

    reason: str | None
    cpu_s: float


#: Takes the text of a schema.
LookAt = Callable[[bytes], Looked]


def look(schema: bytes) -> Looked:
    """Right here, for as long as it takes: for files that nobody hostile wrote."""
    value = loads(schema)
    assert isinstance(value, dict), "the parameters were checked"
    try:
        read_schema(value)
    except SchemaFault as fault:
        return Looked(str(fault), 0.0)
    return Looked(None, 0.0)


class Sieve:
    """Sorts the lines of one file, in their order."""

    def __init__(self, limits: LineLimits, is_strict: bool, look_at: LookAt = look) -> None:
        self._limits = limits
        self._schemas = _Schemas(look_at)
        self._is_strict = is_strict
        self.endpoint: Endpoint | None = None
        self.model: str | None = None
        self._models: set[str] = set()

    def __repr__(self) -> str:
        return f"<Sieve {self.endpoint or 'no valid line yet'}>"

    def sort(self, line: Line) -> Request | LineFault:
        """The request of this line, or why it has none."""
        if line.raw is None:
            return too_long_fault(line, self._limits.line_bytes_max)
        parsed = parse_line(line.raw, line.number, self._limits, self.endpoint)
        if isinstance(parsed, LineFault):
            return parsed
        if (schema := schema_text(parsed)) is not None and (reason := self._schemas.refused(schema)):
            return unusable_schema(line.number, parsed.custom_id, reason)
        if self.endpoint is None:
            self.endpoint, self.model = parsed.endpoint, parsed.model
        if self._is_strict and parsed.model != self.model:
            return mismatched_model(line.number, parsed.custom_id, parsed.model)
        if parsed.model not in self._models:
            if len(self._models) == MODELS_MAX:
                return surplus_model(line.number, parsed.custom_id, parsed.model, MODELS_MAX)
            self._models.add(parsed.model)
        return parsed


class _Schemas:
    """The schemas of one file: each is looked at once, and no longer than all of them may take."""

    def __init__(self, look_at: LookAt) -> None:
        self._look_at = look_at
        self._reasons: OrderedDict[bytes, str | None] = OrderedDict()
        self._left_s = SCHEMAS_CPU_S_MAX

    def refused(self, schema: bytes) -> str | None:
        """Why this one cannot be used."""
        self._left_s += SCHEMA_CPU_S_EACH
        key = blake2b(schema, digest_size=16).digest()
        if key in self._reasons:
            self._reasons.move_to_end(key)
            return self._reasons[key]
        if self._left_s <= 0:
            return "the schemas before it took all the time that those of one file may take to be read"
        looked = self._look_at(schema)
        self._left_s -= looked.cpu_s
        self._reasons[key] = looked.reason
        if len(self._reasons) > SCHEMAS_REMEMBERED_MAX:
            self._reasons.popitem(last=False)
        return looked.reason


def whole_refusal(total: int, faulty: int, is_strict: bool) -> Refusal | None:
    """Why the whole batch fails, given so many lines and so many bad ones; None when it runs."""
    if total == 0:
        message = "The input file is empty. Please ensure that the batch contains at least one request."
        return Refusal("empty_file", message)
    if faulty == total:
        return Refusal("invalid_request", f"None of the {total} lines is a valid request.")
    if is_strict and faulty:
        return Refusal("invalid_request", f"With strict, one bad line fails the batch; {faulty} are bad.")
    return None
