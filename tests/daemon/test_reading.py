"""The reading: the size of a commit is nobody's business but the journal's."""

import pytest

from batchd.daemon import reading
from batchd.daemon.reading import LINES_PER_COMMIT
from tests.daemon.inlet import World
from tests.fakes.made_batch import Line, chat, content


@pytest.mark.parametrize("bound", ["LINES_PER_COMMIT", "BYTES_PER_COMMIT"])
def test_a_file_larger_than_one_commit_is_the_same_as_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    lines: list[Line | None] = [chat(f"r{n}", system=f"Rubric {n % 3}.") for n in range(50)]
    lines[7], lines[20] = None, chat("r3")
    whole = World().take(content(lines))
    monkeypatch.setattr(reading, bound, 7 if bound == "LINES_PER_COMMIT" else 1_000)
    world = World()
    pieces = world.take(content(lines))
    sizes = world.journals[0].commits
    assert len(sizes) > 5
    assert max(sizes[:-1]) - min(sizes[:-1]) <= 2
    assert sizes[0] > 2
    assert pieces.codes() == whole.codes() == {7: "invalid_json_line", 20: "duplicate_custom_id"}
    assert pieces.journal.plan() == whole.journal.plan()
    assert [pieces.line(index) for index in range(50)] == [whole.line(index) for index in range(50)]
    assert pieces.facts == whole.facts


def test_more_lines_than_one_commit_holds() -> None:
    world, total = World(), 2 * LINES_PER_COMMIT + 3
    taken = world.take(content([chat(f"r{n}") for n in range(total)]))
    assert (taken.facts.total, taken.facts.faulty, len(taken.journal.plan().order)) == (total, 0, total)
