"""The page of blows says what the reports beside it say."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.kinds import KINDS
from tests.chaos.mutants import MUTANTS
from tests.chaos.report import Report, forbidden
from tests.chaos.tally import sums, table

DOCS = Path(__file__).parents[1] / "docs"

#: How often each kind must have been struck at the commit of its report, as the tally counts it.
STRUCK = {
    "journal kills": 2_000,
    "daemon kills": 300,
    "power cuts": 100,
    "system calls": 1_000,
    "inbox drops": 20_000,
    "hostile members": 2_000,
    "fuzzed lines": 1_000_000,
    "long full disks": 20,
}


@pytest.fixture(scope="module")
def reports() -> Sequence[Report]:
    """That of the last run of all kinds, and of each kind that came later, at a commit of its own."""
    return [Report.read(path) for path in (DOCS / "proof.json", *sorted((DOCS / "proof").glob("*.json")))]


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "proof.md").read_text(encoding="utf-8")


def test_nothing_was_lost_in_a_report(reports: Sequence[Report]) -> None:
    assert [forbidden(report.lines()) for report in reports] == [""] * len(reports)


def test_every_kind_was_struck_as_often_as_a_release_wants(reports: Sequence[Report]) -> None:
    found = sums(line for report in reports for line in report.lines())
    assert [kind for kind, count in STRUCK.items() if found[kind]["blows"] < count] == []
    seeds = next(kind.full for kind in KINDS if kind.word == "failpoints")
    assert len({run.seed for run in reports[0].runs if run.word == "failpoints"}) >= seeds


def test_no_report_is_of_a_tree_that_nobody_can_have(reports: Sequence[Report]) -> None:
    assert [report.commit for report in reports if not re.fullmatch("[0-9a-f]{40}", report.commit)] == []


def test_the_page_has_the_table_the_commit_and_the_machine_of_each_report(
    reports: Sequence[Report], page: str
) -> None:
    parts = re.findall(r"^(Commit .*?)^```text\n(.*?)^```", page, re.M | re.S)
    assert len(parts) == len(reports)
    for (head, block), report in zip(parts, reports, strict=True):
        assert block.splitlines() == table(report.lines()).splitlines()
        for said in (report.commit[:12], report.begun_at[:10], report.machine):
            assert said in head


def test_every_kind_that_is_struck_is_explained(reports: Sequence[Report], page: str) -> None:
    explained = set(re.findall(r"^\| ([a-z ]+) \|", page, re.M))
    assert set(sums(line for report in reports for line in report.lines())) <= explained


def test_the_page_counts_the_mutants(page: str) -> None:
    assert f"{len(MUTANTS)} places" in page
