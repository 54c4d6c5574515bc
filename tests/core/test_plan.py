from array import array

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.plan import build_plan
from batchd.core.prefix import GroupSummary

CHAT = "/v1/chat/completions"


def summaries(models: list[str], lines: list[int]) -> list[GroupSummary]:
    return [
        GroupSummary(model, CHAT, lines.count(group), 100, 25 + group, 500 + group)
        for group, model in enumerate(models)
    ]


@given(
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(-1, 4), st.sampled_from([16, 64])), max_size=40),
)
def test_the_order_holds_each_good_line_once_and_each_group_is_one_run(
    models: list[str], drawn: list[tuple[int, int]]
) -> None:
    group_of = [min(group, len(models) - 1) for group, _ in drawn]
    found = summaries(models, group_of)
    plan = build_plan(found, array("i", group_of), array("I", [bound for _, bound in drawn]))
    good = [index for index, group in enumerate(group_of) if group >= 0]
    assert sorted(plan.order) == good
    assert sum(run.count for run in plan.groups) == len(good)
    position = 0
    for run in plan.groups:
        assert run.start == position
        members = {group_of[index] for index in plan.order[run.start : run.start + run.count]}
        assert len(members) == 1 or all(found[group].count == 1 for group in members)
        assert {models[group] for group in members} == {run.model}
        position += run.count


def test_models_run_one_after_the_other_in_the_order_of_their_first_line() -> None:
    group_of = [1, 0, 1, 0]
    found = [GroupSummary("late", CHAT, 2, 9, 2, 500), GroupSummary("early", CHAT, 2, 9, 2, 500)]
    plan = build_plan([found[1], found[0]], array("i", [0, 1, 0, 1]), array("I", [8] * 4))
    assert group_of[0] == 1
    assert [run.model for run in plan.groups] == ["early", "late"]
    assert list(plan.order) == [0, 2, 1, 3]


def test_large_groups_come_first_and_single_requests_last_as_one_run() -> None:
    group_of = [0, 1, 2, 2, 2, 3, 3]
    plan = build_plan(summaries(["m"] * 4, group_of), array("i", group_of), array("I", [8] * 7))
    assert list(plan.order) == [2, 3, 4, 5, 6, 0, 1]
    assert [(run.count, run.prefix_tokens) for run in plan.groups] == [(3, 27), (2, 28), (2, 0)]


def test_long_answers_come_first_inside_a_group() -> None:
    plan = build_plan(summaries(["m"], [0, 0, 0]), array("i", [0, 0, 0]), array("I", [8, 64, 8]))
    assert list(plan.order) == [1, 0, 2]


def test_the_window_of_single_requests_is_that_of_the_longest() -> None:
    plan = build_plan(summaries(["m", "m"], [0, 1]), array("i", [0, 1]), array("I", [8, 8]))
    assert [run.window_tokens for run in plan.groups] == [501]
