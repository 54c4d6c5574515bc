"""What must be fast: a row passes, falls short by so much, or says nothing."""

import pytest

from batchd.core.bars import BARS, HEADS, Measured, Verdict, cells, notes


@pytest.mark.parametrize(
    ("row", "verdict", "words"),
    [
        (Measured("at_once", 1_000.0, lines=10), Verdict.PASS, "pass"),
        (Measured("at_once", 750.0, lines=10), Verdict.SHORT, "falls short: 25% below"),
        (Measured("memory", 149.0, lines=10_000), Verdict.SMALL, "too small to say"),
        (Measured("memory", 149.0, lines=170_000), Verdict.PASS, "pass"),
        (Measured("memory", 300.0, lines=10_000), Verdict.SHORT, "falls short: 100% above"),
        (Measured("bare"), Verdict.MODELLESS, "needs --engine"),
        (Measured("intake"), Verdict.ABSENT, "not measured"),
        (Measured("groups", lines=32), Verdict.UNTOLD, "not told by this server"),
    ],
)
def test_a_row_is_judged_by_its_bar_and_by_its_size(row: Measured, verdict: Verdict, words: str) -> None:
    assert row.verdict is verdict
    assert row.words() == words
    assert row.as_dict()["verdict"] == verdict.value


def test_every_row_says_on_what_it_was_measured() -> None:
    for name, bar in BARS.items():
        shown = cells(Measured(name, 1.0, 0.5, 2.0, 170_000))
        assert len(shown) == len(HEADS)
        assert shown[1] == bar.on
        assert "(0.50-2.00)" in shown[3]
    assert {bar.on for bar in BARS.values()} == {"model", "instant server", "no server"}


def test_a_busy_machine_is_said() -> None:
    assert notes([Measured("control", 0.02)]) == []
    assert "Equal code differed by 20%" in notes([Measured("control", 0.2)])[0]
