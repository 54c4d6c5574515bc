"""A real Ollama of batchd's own: what requests begin with alike is read once for each slot, by its log.

SUMMARY
    Their sizes are those of `tests/prefixes`.

DIAGNOSTICS
    None: tests. Skipped where BATCHD_TEST_OLLAMA names no binary.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.house import read_lines
from tests.live.served import owning
from tests.prefixes import GROUPS, LINES, SLOTS, WAIT_S, costs, written

pytestmark = [pytest.mark.live, pytest.mark.timeout(60 + 2 * WAIT_S)]


def run(folder: Path, models: Path, batch: Path) -> Path:
    with owning(folder, models, SLOTS) as daemon:
        result = daemon.result(daemon.submit(batch, {"pilot": 0}), WAIT_S)
        assert daemon.stop() == 0
    lines: list[Any] = read_lines(result / "output.jsonl")
    usages = [line["response"]["body"]["usage"] for line in lines]
    sources = {usage["prompt_tokens_details"]["cached_tokens_source"] for usage in usages}
    assert sources <= {"engine", "log"}
    return result


@pytest.mark.parametrize("is_pasted", [False, True], ids=["system message", "pasted into the user's"])
def test_one_beginning_is_read_once_for_each_slot_at_most(
    tmp_path: Path, models: Path, is_pasted: bool
) -> None:
    batch = written(tmp_path / "one.jsonl", 1, is_pasted)
    evaluated, ideal, beginning, _ = costs(run(tmp_path, models, batch), batch)
    assert evaluated <= ideal + SLOTS * beginning


def test_several_beginnings_in_disorder_are_hardly_read_twice(tmp_path: Path, models: Path) -> None:
    batch = written(tmp_path / "several.jsonl", GROUPS)
    evaluated, ideal, beginning, _ = costs(run(tmp_path, models, batch), batch)
    # Of a few lines, each slot's first beginning is most of what there is to read.
    assert evaluated <= (1.3 * ideal if LINES >= 96 else ideal + SLOTS * beginning)
