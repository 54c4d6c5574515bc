"""Request lines from the fuzzer: each has exactly one outcome, the right one, and nothing is ever raised.

SUMMARY
    BATCHD_TEST_FUZZ_LINES sets how many lines there are (20,000; a million take some minutes), and
    BATCHD_TEST_SEED the seed. A failure names seed and number: `line_of(seed, number)` is that line again.

DIAGNOSTICS
    None: tests.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from batchd.core.fault import LineFault
from batchd.core.lines import Line, Lines
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.request import LineLimits, Request, duplicate_custom_id
from batchd.core.sieve import Sieve
from batchd.core.survey import Survey
from tests.chaos.tally import Books, tally
from tests.fuzz.judge import CODES, cut, judge_fault, judge_line, read
from tests.fuzz.mutations import Made, chance, file_of, line_of

LINES = int(os.environ.get("BATCHD_TEST_FUZZ_LINES", "20000"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: Lines of one batch file.
FILE_LINES = 500

#: A fifth of the lines are judged again as files: cutting, duplicates, groups and the plan.
FILE_SHARE = 5

#: Most lines are shorter, the deepest and longest are not.
LINE_BYTES_MAX = 60_000

#: A second holds some thousand lines; a machine may be twenty times as slow.
TIMEOUT_S = 60 + LINES // 100


@contextmanager
def told(seed: int, number: int, raw: bytes) -> Iterator[None]:
    """What is needed to see a failure again."""
    try:
        yield
    except BaseException as error:
        shown = raw if len(raw) <= 2_000 else raw[:1_000] + b" ... " + raw[-1_000:]
        error.add_note(f"BATCHD_TEST_SEED={seed}, line_of({seed}, {number}): {len(raw)} bytes, {shown!r}")
        raise


@pytest.mark.timeout(TIMEOUT_S)
def test_each_line_has_exactly_one_outcome_and_the_right_one() -> None:
    met: set[str] = set()
    with tally("fuzzed lines", SEED, Books()) as books:
        for number in range(LINES):
            made = line_of(SEED, number)
            books.requests += 1
            with told(SEED, number, made.raw):
                met.add(judged(made))
            books.blows += 1
    # What needs the lines before it is judged with files.
    assert met == CODES - {"line_too_long", "duplicate_custom_id", "mismatched_model"} | {"ok"}


def judged(made: Made) -> str:
    outcome = judge_line(made.raw)
    code = outcome.code if isinstance(outcome, LineFault) else "ok"
    assert not made.codes or code in made.codes, f"{made.how}: {code}, and not {sorted(made.codes)}"
    return code


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("is_strict", [False, True])
def test_each_file_is_cut_sorted_grouped_and_planned_and_the_survey_says_the_same(is_strict: bool) -> None:
    met: set[str] = set()
    for number in range(0, max(LINES // FILE_SHARE // 2, FILE_LINES), FILE_LINES):
        content = file_of(SEED, number, FILE_LINES)
        with told(SEED, number, content):
            met |= judge_file(content, is_strict, chance(SEED, number).choice((LINE_BYTES_MAX, 2_000, 300)))
    assert met >= {"line_too_long", "invalid_json_line", "ok"}
    assert "mismatched_model" in met if is_strict else "duplicate_custom_id" in met


def judge_file(content: bytes, is_strict: bool, line_bytes_max: int) -> set[str]:
    limits = LineLimits(line_bytes_max)
    lines = list(Lines(io.BytesIO(content), line_bytes_max))
    assert lines == [shortened(line, line_bytes_max) for line in cut(content)]
    survey = Survey(io.BytesIO(content), io.BytesIO(content), limits, is_strict, None)
    said = list(survey)
    sieve, seen = Sieve(limits, is_strict), set[str]()
    found: dict[int, Request] = {}
    groups = PrefixGroups(found.__getitem__)
    codes = set()
    for index, (line, fault) in enumerate(zip(lines, said, strict=True)):
        outcome = sieve.sort(line)
        if isinstance(outcome, Request) and outcome.custom_id in seen:
            outcome = duplicate_custom_id(line.number, outcome.custom_id)
        if outcome.custom_id is not None:
            seen.add(outcome.custom_id)
        assert fault == (outcome if isinstance(outcome, LineFault) else None)
        if isinstance(outcome, LineFault):
            assert outcome.line == line.number
            if line.raw is not None:
                judge_fault(outcome, read(line.raw))
            codes.add(outcome.code)
        else:
            codes.add("ok")
            found[index] = outcome
            groups.add(index, outcome)
    plan = build_plan(groups, len(lines))
    assert sorted(plan.order) == sorted(found)
    assert sum(run.count for run in plan.groups) == len(found) == survey.total - survey.faulty
    assert survey.total == len(lines)
    return codes


def shortened(line: Line, line_bytes_max: int) -> Line:
    return replace(line, raw=None) if line.length_bytes > line_bytes_max else line


def test_the_page_of_the_format_has_every_code() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "format.md").read_text(encoding="utf-8")
    table = page.partition("The codes of request lines")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) - {"line_bytes_max", "custom_id"} == CODES
