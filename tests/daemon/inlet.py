"""An intake with everything around it in memory, and an accepted batch as a test looks at it.

DIAGNOSTICS
    None.
"""

from collections.abc import Sequence
from itertools import count

from batchd.core.json import dumps, loads
from batchd.core.record import NewLine
from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.core.summary import Acceptance, from_meta
from batchd.daemon.intake import Intake
from batchd.daemon.ports import Batch
from tests.fakes.fake_clock import FakeClock
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool

NAME, OPTIONS = b"reviews.jsonl", b"reviews.options.json"
WANTED = f"batch_{'a' * 32}"


class CountingJournal(MemoryJournal):
    """Knows how many lines each commit had."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []

    def add_lines(self, lines: Sequence[NewLine]) -> None:
        self.commits.append(len(lines))
        super().add_lines(lines)


class World:
    """`take` drops a file, sweeps and accepts."""

    def __init__(self, rules: Rules | None = None, only: frozenset[str] | None = None) -> None:
        self.spool = MemorySpool()
        self.clock = FakeClock()
        self.journals: list[CountingJournal] = []
        self.space = Space(self.spool.size, reserve_bytes=10**9)
        numbers = count(1)
        self.intake = Intake(
            self.spool,
            self.clock,
            rules or Rules(slots=1, settle_s=0.0),
            self.space,
            self._create,
            lambda: f"batch_{next(numbers):032x}",
            only,
        )

    def _create(self, path: str) -> MemoryJournal:
        self.journals.append(CountingJournal())
        return self.journals[-1]

    def take(self, raw: bytes, options: object = None) -> "Accepted":
        self.spool.drop(NAME, raw)
        if options is not None:
            self.spool.drop(OPTIONS, options if isinstance(options, bytes) else dumps(options))
        [batch_id] = self.intake.sweep(16)
        batch = self.intake.accept(batch_id)
        assert batch is not None
        return Accepted(batch)


class Accepted:
    """An accepted batch, as a test looks at it."""

    def __init__(self, batch: Batch) -> None:
        self.id = batch.id
        self.journal = batch.journal
        self.facts: Acceptance = from_meta(batch.journal.meta())
        self.faults = {index: _error(line) for index, is_error, line in batch.journal.results() if is_error}
        self.raw = batch.input.read()

    def codes(self) -> dict[int, object]:
        return {index: error["code"] for index, error in self.faults.items()}

    def line(self, index: int) -> bytes:
        """The bytes that stand where the journal says."""
        [row] = self.journal.read_lines([index])
        return self.raw[row.offset : row.offset + row.length]


def _error(line: bytes) -> dict[str, object]:
    value = loads(line)
    assert isinstance(value, dict)
    response = value["response"]
    error = value["error"] if response is None else response["body"]["error"]
    assert isinstance(error, dict)
    return error
