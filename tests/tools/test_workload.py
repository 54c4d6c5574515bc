"""Work that is the same each time, of the size that was asked for, and of no use to the next run."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from batchd.core.json import dumps
from batchd.core.request import LineLimits, Request, parse_line
from batchd.tools.workload import Workload


def parsed(work: Workload, edition: int = 1) -> list[Request]:
    lines = [dumps(line) for line in work.requests("m", edition)]
    found = [parse_line(line, number, LineLimits(), None) for number, line in enumerate(lines, 1)]
    assert all(isinstance(item, Request) for item in found)
    return [item for item in found if isinstance(item, Request)]


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 12), st.booleans())
def test_every_line_is_a_request_and_no_two_are_equal(lines: int, groups: int, is_shuffled: bool) -> None:
    requests = parsed(Workload(lines, groups, 40, is_shuffled=is_shuffled))
    assert len({request.custom_id for request in requests}) == lines
    assert len({request.messages[1].text for request in requests}) == lines
    rubrics = len({request.messages[0].text for request in requests})
    assert rubrics <= groups
    assert rubrics == groups or lines < 4 * groups, "few lines do not reach the small groups"


def test_groups_are_dealt_unevenly_and_shuffled() -> None:
    order = [request.messages[0].text for request in parsed(Workload(60, 3))]
    assert sorted(Counter(order).values(), reverse=True) == [33, 16, 11]
    changes = sum(one != two for one, two in pairwise(order))
    assert changes > 20, "neighbours share a beginning only by chance"
    assert sum(one != two for one, two in pairwise(sorted(order))) == 2


def test_an_edition_shares_no_beginning_with_another_and_weighs_the_same() -> None:
    one, other = (parsed(Workload(3, 2), edition) for edition in (7, 8))
    for first, second in zip(one, other, strict=True):
        assert first.messages[0].text[:12] != second.messages[0].text[:12]
        assert len(first.messages[0].text) == len(second.messages[0].text)
        assert first.messages[1] == second.messages[1]


def test_the_file_is_the_same_each_time(tmp_path: Path) -> None:
    work = Workload(20, 4)
    assert work.write(tmp_path / "a", "m", 3).read_bytes() == work.write(tmp_path / "b", "m", 3).read_bytes()


def test_a_rubric_is_about_as_long_as_asked() -> None:
    for tokens in (50, 300, 2_000):
        words = len(parsed(Workload(1, 1, tokens))[0].messages[0].text.split())
        assert 0.9 * tokens < words * 1.35 < 1.1 * tokens + 30
