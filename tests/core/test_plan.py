"""The plan: every line once, what begins alike side by side, and few loads."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.fit import ROOM_TOKENS_MIN, WINDOW_TOKENS_MAX
from batchd.core.plan import LOAD_REQUESTS_MIN, WINDOW_RATIO, build_plan
from batchd.core.prefix import PrefixGroups, prefix_tokens
from batchd.core.record import Group, Plan
from batchd.core.request import Endpoint, Message, Request, canonical_text
from batchd.core.trie import common_bytes

RUBRICS = [f"{number} {'rubric ' * 100}" for number in range(4)]
DOCUMENTS = [f"{number} {'document ' * 80}" for number in range(3)]


def chat(system: str, user: str, model: str = "m", bound: int = 16, **parameters: object) -> Request:
    messages = (Message("system", system), Message("user", user))
    return Request("a", Endpoint.CHAT, model, messages, (), parameters, bound)


def planned(
    *requests: Request, deduplicate: bool = False, window_tokens_max: int = WINDOW_TOKENS_MAX
) -> Plan:
    groups = PrefixGroups(requests.__getitem__, deduplicate, window_tokens_max)
    for index, request in enumerate(requests):
        groups.add(index, request)
    return build_plan(groups, len(requests))


def runs(plan: Plan) -> list[list[int]]:
    return [list(plan.order[group.start : group.start + group.count]) for group in plan.groups]


DRAWN = st.tuples(
    st.sampled_from("mn"), st.sampled_from(RUBRICS), st.sampled_from([*DOCUMENTS, ""]), st.text(max_size=5)
)


@given(st.lists(DRAWN, max_size=40), st.booleans())
def test_the_order_holds_each_line_once_and_each_group_is_one_run(
    drawn: list[tuple[str, str, str, str]], deduplicate: bool
) -> None:
    requests = [chat(system, doc + text, model, temperature=0.0) for model, system, doc, text in drawn]
    plan = planned(*requests, deduplicate=deduplicate)
    kept = list({repr(request): request for request in requests}.values()) if deduplicate else requests
    assert sorted(map(repr, (requests[index] for index in plan.order))) == sorted(map(repr, kept))
    assert plan.line_count == len(requests)
    position = 0
    for group, run in zip(plan.groups, runs(plan), strict=True):
        assert group.start == position
        assert {requests[index].model for index in run} == {group.model}
        texts = sorted(canonical_text(requests[index]) for index in run)
        assert prefix_tokens(common_bytes(texts[0], texts[-1])) >= group.prefix_tokens
        position += group.count


@given(st.lists(DRAWN, max_size=30))
def test_a_group_shares_with_the_one_before_it_what_it_says(drawn: list[tuple[str, str, str, str]]) -> None:
    requests = [chat(system, doc + text, model) for model, system, doc, text in drawn]
    plan = planned(*requests)
    for (before, one), (group, other) in pairwise(zip(plan.groups, runs(plan), strict=True)):
        common = common_bytes(*(canonical_text(requests[run[0]]) for run in (one, other)))
        assert group.shared_tokens <= min(prefix_tokens(common), group.prefix_tokens, before.prefix_tokens)
        assert not group.shared_tokens or before.model == group.model
    assert all(not group.shared_tokens for group in plan.groups[:1])


def test_models_run_one_after_the_other_in_the_order_of_their_first_line() -> None:
    plan = planned(*(chat("r", str(n), model) for n, model in enumerate(["early", "late", "early", "late"])))
    assert [group.model for group in plan.groups] == ["early", "late"]
    assert list(plan.order) == [0, 2, 1, 3]


def test_large_groups_come_first_and_what_shares_nothing_last() -> None:
    heads = [RUBRICS[0]] * 2 + [RUBRICS[1]] * 3 + ["alone", "and alone"]
    plan = planned(*(chat(head, str(n)) for n, head in enumerate(heads)))
    assert runs(plan) == [[2, 3, 4], [0, 1], [5, 6]]
    assert [group.prefix_tokens > 0 for group in plan.groups] == [True, True, False]


def test_what_is_inside_of_a_group_stands_beside_the_rest_of_it() -> None:
    asked = [(RUBRICS[0], DOCUMENTS[n % 2] + str(n)) for n in range(4)]
    asked += [(RUBRICS[1], DOCUMENTS[n % 2] + str(n)) for n in range(6)]
    asked += [(RUBRICS[0], f"{n} is asked") for n in range(5)]
    plan = planned(*(chat(*pair) for pair in asked))
    assert runs(plan) == [[0, 2], [1, 3], [10, 11, 12, 13, 14], [4, 6, 8], [5, 7, 9]]
    first, second, rest, third, fourth = plan.groups
    assert first.shared_tokens == third.shared_tokens == 0
    assert second.shared_tokens == rest.shared_tokens == rest.prefix_tokens
    assert fourth.shared_tokens > rest.prefix_tokens * 0.9


def test_long_answers_come_first_inside_a_group_then_what_shares_more() -> None:
    drawn = [("a", 8), ("b", 64), ("a", 64), ("b", 8), ("a", 8)]
    plan = planned(*(chat(RUBRICS[0], name * 130 + str(n), bound=b) for n, (name, b) in enumerate(drawn)))
    assert runs(plan) == [[2, 1, 0, 4, 3]]


def test_a_copy_is_not_planned() -> None:
    one = chat("r", "one", temperature=0.0)
    plan = planned(one, one, chat("r", "two"), one, deduplicate=True)
    assert (plan.line_count, sorted(plan.order)) == (4, [0, 2])


def test_windows_that_differ_by_far_have_loads_of_their_own_the_small_ones_first() -> None:
    many = LOAD_REQUESTS_MIN
    short = [chat(RUBRICS[0], f"{n}") for n in range(many)]
    long = [chat(RUBRICS[0], f"{n} {'long ' * 8_000}") for n in range(3)]
    plan = planned(*long, *short)
    assert [(group.load, group.count) for group in plan.groups] == [(0, many), (1, 3)]
    assert plan.groups[1].window_tokens > WINDOW_RATIO * plan.groups[0].window_tokens
    assert plan.groups[1].shared_tokens == 0


def test_a_few_short_requests_do_not_pay_for_a_load() -> None:
    short = [chat(RUBRICS[0], f"{n}") for n in range(LOAD_REQUESTS_MIN - 1)]
    plan = planned(*short, chat(RUBRICS[0], "long " * 8_000))
    assert [group.load for group in plan.groups] == [0]
    assert plan.groups[0].window_tokens > 10_000


def test_a_group_knows_its_longest_request_and_the_least_that_is_worth_a_try() -> None:
    [group] = planned(
        *(chat(RUBRICS[0], f"{n}", bound=bound) for n, bound in enumerate([900, 16, 300]))
    ).groups
    assert group.window_tokens - group.window_tokens_min == 900 - 16
    [long] = planned(*(chat(RUBRICS[0], f"{n}", bound=900) for n in range(3))).groups
    assert long.window_tokens - long.window_tokens_min == 900 - ROOM_TOKENS_MIN


def windows(plan: Plan) -> list[tuple[int, int, int]]:
    """Of each load: its number, requests, and the window that its groups ask for."""
    found: dict[int, list[Group]] = {}
    for group in plan.groups:
        found.setdefault(group.load, []).append(group)
    return [
        (load, sum(it.count for it in groups), max(it.window_tokens for it in groups))
        for load, groups in found.items()
    ]


@pytest.mark.parametrize("many", [3, 1_000])
def test_a_bound_above_every_window_runs_last_in_the_largest_and_changes_nobodys_window(many: int) -> None:
    """However few the others are: such a bound is copied from somewhere, and mostly means nothing."""
    small = [chat(RUBRICS[0], f"{n}", bound=300) for n in range(many)]
    alone = windows(planned(*small, window_tokens_max=32_768))
    plan = planned(chat(RUBRICS[0], "long", bound=128_000), *small, window_tokens_max=32_768)
    assert windows(plan) == [*alone, (1, 1, 32_768)]
    assert plan.order[-1] == 0
    assert plan.groups[-1].window_tokens_min < 1_024  # worth a try where memory holds no more


def test_bounds_above_every_window_are_one_load_where_there_is_nothing_else() -> None:
    plan = planned(*(chat("r", f"{n}", bound=128_000) for n in range(5)), window_tokens_max=32_768)
    assert windows(plan) == [(0, 5, 32_768)]


def test_a_prompt_above_every_window_is_counted_by_the_engine_beside_the_others() -> None:
    long = chat(RUBRICS[0], "word " * 40_000)
    small = [chat(RUBRICS[0], f"{n}") for n in range(5)]
    alone = windows(planned(*small, window_tokens_max=32_768))
    assert windows(planned(*small, long, window_tokens_max=32_768)) == [(0, 6, alone[0][2])]
    [only] = windows(planned(long, window_tokens_max=32_768))
    assert only[2] > 32_768


def test_a_setting_below_the_smallest_window_is_one_load() -> None:
    plan = planned(
        *(chat("r", f"{n}", bound=bound) for n, bound in enumerate([16, 90_000])), window_tokens_max=512
    )
    assert windows(plan) == [(0, 2, 512)]


def test_like_windows_share_a_load() -> None:
    requests = [chat(RUBRICS[0], "word " * 5 * n) for n in range(300)]
    assert {group.load for group in planned(*requests).groups} == {0}
