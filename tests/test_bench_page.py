"""The page of what batchd is worth says what the run beside it says."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from batchd.core.bars import BARS, HEADS, Measured, Verdict, cells
from batchd.tools.machine import Machine

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def told() -> Any:
    return orjson.loads((DOCS / "bench.json").read_bytes())


@pytest.fixture(scope="module")
def page() -> list[str]:
    return (DOCS / "bench.md").read_text(encoding="utf-8").splitlines()


def measured(row: dict[str, Any]) -> Measured:
    return Measured(row["name"], row["value"], row["low"], row["high"], row["lines"] or 0)


def test_every_row_was_measured_in_the_one_run_and_at_the_size_of_its_bar(told: Any) -> None:
    rows = {row["name"]: measured(row) for row in told["rows"]}
    assert set(rows) == set(BARS)
    assert {row.verdict for row in rows.values()} <= {Verdict.PASS, Verdict.SHORT}


def test_the_page_has_each_row_and_what_falls_short(told: Any, page: list[str]) -> None:
    for line in (HEADS, *(cells(measured(row)) for row in told["rows"])):
        assert f"| {' | '.join(line)} |" in page


def test_the_page_has_the_machine(told: Any, page: list[str]) -> None:
    assert Machine(**told["machine"]).words() in " ".join(page)
