"""The page of blows says what the report beside it says."""

import re
from pathlib import Path

import pytest

from tests.chaos.kinds import KINDS
from tests.chaos.mutants import MUTANTS
from tests.chaos.report import Report, forbidden
from tests.chaos.tally import sums, table

DOCS = Path(__file__).parents[1] / "docs"

#: How often each kind must have been struck at the commit of the report, as the tally counts it.
STRUCK = {
    "journal kills": 2_000,
    "daemon kills": 300,
    "power cuts": 100,
    "system calls": 1_000,
    "inbox drops": 20_000,
    "fuzzed lines": 1_000_000,
}


@pytest.fixture(scope="module")
def report() -> Report:
    return Report.read(DOCS / "proof.json")


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "proof.md").read_text(encoding="utf-8")


def test_nothing_was_lost_in_the_report(report: Report) -> None:
    assert forbidden(report.lines()) == ""


def test_every_kind_was_struck_as_often_as_a_release_wants(report: Report) -> None:
    found = sums(report.lines())
    assert [kind for kind, count in STRUCK.items() if found[kind]["blows"] < count] == []
    seeds = next(kind.full for kind in KINDS if kind.word == "failpoints")
    assert len({run.seed for run in report.runs if run.word == "failpoints"}) >= seeds


def test_the_page_has_the_table_the_commit_and_the_machine_of_the_report(report: Report, page: str) -> None:
    (block,) = re.findall(r"^```text\n(.*?)^```", page, re.M | re.S)
    assert block.splitlines() == table(report.lines()).splitlines()
    for said in (report.commit[:12], report.begun_at[:10], report.machine):
        assert said in page


def test_the_page_counts_the_mutants(page: str) -> None:
    assert f"{len(MUTANTS)} places" in page
