"""The survey: what intake would find in a batch file, counted without a journal.

SUMMARY
    For `batchd check`: the same `Lines`, `Sieve`, `PrefixGroups` and plan as intake, and a set in place of
    the journal's table of custom_ids. Memory grows by some numbers for each line. Now and then an earlier
    line is looked at again (`again`, the same file opened once more).

DIAGNOSTICS
    None raised here; an OSError of the reader passes through.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

from batchd.core.bulk import LINES_MAX, Bulk
from batchd.core.chats import Chats
from batchd.core.fault import LineFault, Refusal
from batchd.core.filetype import Rereadable, foreign_type
from batchd.core.fit import WINDOW_TOKENS_MAX
from batchd.core.lines import Line, Lines, Reader
from batchd.core.markup import Markup
from batchd.core.options import parse_options
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.record import Group
from batchd.core.request import LineLimits, Request, duplicate_custom_id, parse_line
from batchd.core.sieve import LookAt, Sieve, look, whole_refusal
from batchd.core.strategy import Strategy, settled

#: What OpenAI's Batch API takes in one file. Here both are only said.
OPENAI_LINES_MAX = 50_000
OPENAI_BYTES_MAX = 200_000_000


class Survey:
    """One file, surveyed once. `options_raw` is what lies in NAME.options.json, if it is there."""

    def __init__(
        self,
        reader: Reader,
        again: Rereadable,
        limits: LineLimits,
        is_strict: bool,
        options_raw: bytes | None,
        strategy: Strategy = Strategy.PREFIX,
        window_tokens_max: int = WINDOW_TOKENS_MAX,
        lines_max: int = LINES_MAX,
        look_at: LookAt = look,
    ) -> None:
        self._lines_max = lines_max
        options, self._options_refusals = parse_options(options_raw)
        self.is_strict = is_strict if options.strict is None else options.strict
        self.strategy = settled(options.strategy, strategy)
        self.lines = Lines(reader, limits.line_bytes_max)
        #: No line of such a file is read.
        self.foreign = foreign_type(again, limits.line_bytes_max)
        self._sieve = Sieve(limits, self.is_strict, look_at)
        self._limits = limits
        self._again = again
        self._markup = Markup()
        self._offsets = array("Q")
        self._lengths = array("I")
        self._groups: Chats | PrefixGroups = (
            Chats(window_tokens_max)
            if self.strategy is Strategy.CONVERSATION
            else PrefixGroups(self._request_of, window_tokens_max=window_tokens_max)
        )
        self._seen: set[int] = set()
        self._planned: list[Group] | None = None
        self.total = 0
        self.codes: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Survey {self.total} requests, {self.faulty} faulty>"

    def __iter__(self) -> Iterator[LineFault | None]:
        """The fault of each line that is not blank, None for a good one; of too many lines the first ones."""
        for line in self.lines if self.foreign is None else ():
            if self.lines.line_count > self._lines_max:
                return
            self.total += 1
            fault = self._fault(line)
            if fault is not None:
                self.codes[fault.code] += 1
            yield fault

    @property
    def faulty(self) -> int:
        """Lines that would get an error line at once."""
        return self.codes.total()

    @property
    def prompt_tokens(self) -> int:
        """Of all good lines together, estimated."""
        return self._groups.prompt_tokens

    @property
    def lowered(self) -> int:
        """Lines whose bound is above what the largest window leaves, estimated."""
        return self._groups.lowered

    @property
    def longest_tokens(self) -> int:
        """The longest prompt, estimated."""
        return self._groups.longest_tokens

    def groups(self) -> list[Group]:
        """The runs of the plan, the largest first. Nothing can be read any more."""
        if self._planned is None:
            found = self._groups
            plan = found.plan(self.total) if isinstance(found, Chats) else build_plan(found, self.total)
            self._planned = sorted(plan.groups, key=lambda group: -group.count)
        return self._planned

    def refusals(self) -> list[Refusal]:
        """Why the batch would fail as a whole; empty when it would run."""
        if self.foreign is not None:
            return [self.foreign.refusal()]
        too_much = Bulk(self._lines_max, self.lines.line_count, self.lines.read_bytes).refusal()
        if too_much is not None:
            return [too_much]
        refusal = whole_refusal(self.total, self.faulty, self.is_strict)
        return self._options_refusals or ([] if refusal is None else [refusal])

    def notes(self) -> tuple[str, ...]:
        """What is worth knowing and no fault."""
        said = list(self.lines.notes())
        said += self._markup.notes()
        said += self._groups.notes() if isinstance(self._groups, Chats) else ()
        if self.total > OPENAI_LINES_MAX:
            said.append(f"OpenAI would refuse this file: it has more than {OPENAI_LINES_MAX:,} requests.")
        if self.lines.read_bytes > OPENAI_BYTES_MAX:
            said.append(f"OpenAI would refuse this file: it is larger than {OPENAI_BYTES_MAX // 10**6} MB.")
        return tuple(said)

    def _fault(self, line: Line) -> LineFault | None:
        parsed = self._sieve.sort(line)
        self._offsets.append(line.offset)
        self._lengths.append(0 if line.raw is None else line.length_bytes)
        is_taken = parsed.custom_id is not None and self._is_taken(parsed.custom_id)
        if isinstance(parsed, LineFault):
            return parsed
        if is_taken:
            return duplicate_custom_id(line.number, parsed.custom_id)
        self._markup.note(parsed)
        self._groups.add(len(self._offsets) - 1, parsed)
        return None

    def _request_of(self, index: int) -> Request:
        self._again.seek(self._offsets[index])
        parsed = parse_line(self._again.read(self._lengths[index]), index, self._limits, self._sieve.endpoint)
        assert isinstance(parsed, Request), "the line was good before"
        return parsed

    def _is_taken(self, custom_id: str) -> bool:
        # 64 bits for each id instead of the id: a million of them meet by chance once in 37 million files.
        known = len(self._seen)
        self._seen.add(hash(custom_id))
        return len(self._seen) == known
