"""The sieve: what becomes of each line of one file, with the rules that need the lines before it.

SUMMARY
    The batch has the url of its first valid line, and under `strict` its model too. It may name many models,
    but not without end, because each is a load, and its name is held until the batch is done. Whether a
    custom_id was seen before is asked elsewhere: intake asks its journal, `batchd check` a set.

DIAGNOSTICS
    None raised: every bad line is a value.
"""

from batchd.core.fault import LineFault, Refusal
from batchd.core.lines import Line, too_long_fault
from batchd.core.request import Endpoint, LineLimits, Request, mismatched_model, parse_line, surplus_model

#: Models of one batch. Nobody has a thousand; a file that names one in each line would fill the memory.
MODELS_MAX = 1_000


class Sieve:
    """Sorts the lines of one file, in their order."""

    def __init__(self, limits: LineLimits, is_strict: bool) -> None:
        self._limits = limits
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
        if self.endpoint is None:
            self.endpoint, self.model = parsed.endpoint, parsed.model
        if self._is_strict and parsed.model != self.model:
            return mismatched_model(line.number, parsed.custom_id, parsed.model)
        if parsed.model not in self._models:
            if len(self._models) == MODELS_MAX:
                return surplus_model(line.number, parsed.custom_id, parsed.model, MODELS_MAX)
            self._models.add(parsed.model)
        return parsed


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
