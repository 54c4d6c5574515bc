"""A fuzzed file through the real intake and journal: one outcome for each line, and the check agrees.

DIAGNOSTICS
    None: tests.
"""

import io
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from batchd.cli import call
from batchd.core.fault import LineFault
from batchd.core.lines import Lines
from batchd.core.options import Options, parse_options
from batchd.core.request import LineLimits, Request, parse_line
from batchd.core.rules import Rules
from batchd.daemon.ports import Journal
from batchd.daemon.reading import Reading
from batchd.edges.journal import Journal as LmdbJournal
from tests.daemon.inlet import Accepted, World
from tests.fakes.memory_spool import MemorySpool
from tests.fuzz.judge import judge_line
from tests.fuzz.mutations import file_of, options_of

SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))
LINES = 2_000
LINE_BYTES_MAX = 60_000


class DurableWorld(World):
    """Its journals are on disk."""

    def __init__(self, folder: Path, is_strict: bool) -> None:
        self._folder = folder
        super().__init__(Rules(slots=1, settle_s=0.0, line_bytes_max=LINE_BYTES_MAX, strict=is_strict))

    def _create(self, path: str) -> Journal:  # type: ignore[override]  # the other one is in memory
        return LmdbJournal.create(str(self._folder / "journal"))


def checked(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert call(["check", "--json", str(path)]) == 1
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.usefixtures("nothing_set")
def test_each_fuzzed_line_has_one_outcome_in_the_journal_and_the_check_foretold_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_strict: bool
) -> None:
    content, path = file_of(SEED, 0, LINES), tmp_path / "fuzzed.jsonl"
    path.write_bytes(content)
    monkeypatch.setenv("BATCHD_LINE_BYTES_MAX", str(LINE_BYTES_MAX))
    monkeypatch.setenv("BATCHD_STRICT", str(is_strict).lower())
    taken = DurableWorld(tmp_path, is_strict).take(content)
    numbers = [line.number for line in Lines(io.BytesIO(content), LINE_BYTES_MAX)]
    report = checked(path, capsys)
    assert 0.1 < taken.facts.faulty / LINES < (1 if is_strict else 0.8)
    assert len(numbers) == taken.facts.total == taken.journal.progress().total == report["total"] > LINES // 2
    assert told_by(taken) == report["faults"]
    assert len(taken.faults) == taken.facts.faulty == taken.journal.progress().failed == report["faulty"]
    assert bool(report["refusals"]) == bool(taken.facts.refusals) == is_strict
    assert list(taken.facts.notes) == report["notes"][: len(taken.facts.notes)]
    for index in set(range(len(numbers))) - set(taken.faults):
        line = taken.line(index)
        assert isinstance(parse_line(line, numbers[index], LineLimits(len(line)), None), Request)
    taken.journal.close()


def told_by(taken: Accepted) -> list[dict[str, object]]:
    """The error lines of the journal, as `check` writes a fault."""
    told = []
    for index, is_error, line in taken.journal.results():
        assert is_error, index
        [row] = taken.journal.read_lines([index])
        value = json.loads(line)
        error = value["error"] or value["response"]["body"]["error"]
        assert error.get("line", row.number) == row.number
        told.append(
            {
                "line": row.number,
                "code": error["code"],
                "message": error["message"],
                "param": error.get("param") or param_of(taken.line(index)),
                "custom_id": value["custom_id"],
            }
        )
    return told


def param_of(raw: bytes) -> str | None:
    """An error line without a custom_id has no param; nor has one that was not held."""
    fault = judge_line(raw) if raw else None
    return fault.param if isinstance(fault, LineFault) else None


def test_each_fuzzed_options_file_is_taken_or_fails_its_batch_with_reasons() -> None:
    line = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n'
    for number in range(200):
        raw = options_of(SEED, number)
        taken = World().take(line, raw)
        options, refusals = parse_options(raw)
        assert taken.facts.options == options, raw
        assert list(taken.facts.refusals) == refusals, raw
        assert taken.id == options.batch_id or options.batch_id is None


class Endless(io.BytesIO):
    """Five gibibytes of zeros in one line, of which 64 KiB exist."""

    ZEROS = bytes(2**16)

    def __init__(self) -> None:
        super().__init__()
        self.left = 5 * 2**30

    def readline(self, size: int | None = -1, /) -> bytes:
        piece = self.ZEROS[: min(self.left, size or -1)]
        self.left -= len(piece)
        return piece


class EndlessSpool(MemorySpool):
    def open_input(self, batch_id: str) -> BinaryIO:
        return Endless()


def test_a_line_longer_than_a_row_can_say_is_one_bad_line(tmp_path: Path) -> None:
    journal = LmdbJournal.create(str(tmp_path / "journal"))
    rules = Rules(slots=1, line_bytes_max=1_000)
    for _ in Reading(EndlessSpool(), journal, f"batch_{0:032x}", rules, Options()).slices():
        pass
    [(_, is_error, line)] = journal.results()
    assert is_error
    assert json.loads(line)["error"]["message"].startswith(f"This line has {5 * 2**30} bytes")
    journal.close()
