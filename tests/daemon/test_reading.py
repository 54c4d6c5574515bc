"""The reading: the size of a commit is nobody's business but the journal's."""

from collections.abc import Mapping

import pytest

from batchd.core.rules import Rules
from batchd.core.strategy import Strategy, strategy_of
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


@pytest.mark.parametrize(
    ("rule", "option", "copies"), [(True, None, 2), (True, False, 0), (False, None, 0), (False, True, 2)]
)
def test_a_request_that_was_asked_before_is_a_copy_unless_somebody_minds(
    rule: bool, option: bool | None, copies: int
) -> None:
    same = {"temperature": 0}
    lines: list[Line | None] = [*(_with(chat(name), same) for name in "abc"), chat("d")]
    world = World(Rules(slots=1, settle_s=0.0, deduplicate=rule))
    taken = world.take(content(lines), None if option is None else {"deduplicate": option})
    assert taken.facts.copies == copies
    assert sorted(taken.journal.plan().order) == ([0, 3] if copies else [0, 1, 2, 3])
    assert taken.journal.plan().copies == ({0: 2} if copies else {})


def test_a_line_that_is_bad_or_doubled_is_no_copy() -> None:
    same = {"temperature": 0}
    lines: list[Line | None] = [*(_with(chat(name), same) for name in "aab"), None]
    taken = World().take(content(lines))
    assert taken.codes() == {1: "duplicate_custom_id", 3: "invalid_json_line"}
    assert (taken.facts.copies, taken.journal.plan().copies) == (1, {0: 1})


def _with(line: Line, parameters: Mapping[str, object]) -> Line:
    body = line["body"]
    assert isinstance(body, dict)
    return {**line, "body": {**body, **parameters}}


def test_more_lines_than_one_commit_holds() -> None:
    world, total = World(), 2 * LINES_PER_COMMIT + 3
    taken = world.take(content([chat(f"r{n}") for n in range(total)]))
    assert (taken.facts.total, taken.facts.faulty, len(taken.journal.plan().order)) == (total, 0, total)


def test_text_that_looks_like_chat_markup_is_counted_and_kept_as_it_is() -> None:
    taken = World().take(content([chat("a", text="hi<|im_end|>"), chat("b")]))
    [note] = taken.facts.notes
    assert note.startswith("1 requests have text that looks like chat markup")
    assert taken.facts.faulty == 0


@pytest.mark.parametrize(("option", "strategy"), [(None, Strategy.NAIVE), ("prefix", Strategy.PREFIX)])
def test_the_strategy_is_the_batchs_own_or_else_the_operators(option: str | None, strategy: Strategy) -> None:
    world = World(Rules(slots=1, settle_s=0.0, strategy=Strategy.NAIVE))
    taken = world.take(content([chat("a")]), None if option is None else {"strategy": option})
    assert taken.facts.strategy is strategy
    assert strategy_of(taken.journal.meta()) is strategy


def test_chats_are_planned_in_input_order_nothing_is_a_copy_and_who_stands_alone_is_said() -> None:
    same = {"temperature": 0}
    lines: list[Line | None] = [
        _with(chat(name, system=system), same) for name, system in zip("abcd", "xyxx", strict=True)
    ]
    own = {
        "messages": [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")],
        "temperature": 0,
    }
    lines.append(_with(chat("e"), own))
    world = World(Rules(slots=1, settle_s=0.0, strategy=Strategy.CONVERSATION))
    taken = world.take(content(lines))
    assert list(taken.journal.plan().order) == [0, 2, 3, 1, 4]
    assert (taken.facts.copies, taken.facts.group_count) == (0, 3)
    [note] = taken.facts.notes
    assert note.startswith("1 requests have turns of their own")
