"""Chats: which requests talk to each other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.chats import Chats
from batchd.core.request import Endpoint, Message, Request


def ask(system: str = "Judge.", model: str = "m", text: str = "Is it?", **parameters: Any) -> Request:
    messages = (Message("system", system), Message("user", text))
    return Request("a", Endpoint.CHAT, model, messages, (), parameters, 16)


def chats_of(*requests: Request) -> Chats:
    chats = Chats()
    for index, request in enumerate(requests):
        chats.add(index, request)
    return chats


def sizes(*requests: Request) -> list[int]:
    return [group.count for group in chats_of(*requests).plan(len(requests)).groups]


def test_the_same_system_prompt_and_parameters_are_one_chat_in_input_order() -> None:
    plan = chats_of(ask("A"), ask("B"), ask("A"), ask("B"), ask("A")).plan(5)
    assert list(plan.order) == [0, 2, 4, 1, 3]
    assert [(group.start, group.count, group.load) for group in plan.groups] == [(0, 3, 0), (3, 2, 0)]
    assert sizes(ask(temperature=0), ask(temperature=1), ask(temperature=0)) == [2, 1]


def test_a_bound_above_every_window_asks_for_the_largest_and_tries_in_less() -> None:
    found = Chats(window_tokens_max=8_192)
    for index, bound in enumerate((128_000, 16)):
        found.add(index, replace(ask(), completion_tokens_max=bound))
    [group] = found.plan(2).groups
    assert group.window_tokens == 8_192
    assert 16 < group.window_tokens_min < 256
    assert found.lowered == 1


def test_a_seed_is_no_part_of_what_is_talked_about() -> None:
    assert sizes(ask(seed=1), ask(seed=2)) == [2]


def test_models_take_turns() -> None:
    plan = chats_of(ask(model="x"), ask(model="y"), ask("B", model="x")).plan(3)
    assert [group.model for group in plan.groups] == ["x", "x", "y"]


def test_a_request_with_turns_of_its_own_is_in_no_chat_and_is_said() -> None:
    own = Request(
        "a",
        Endpoint.CHAT,
        "m",
        (Message("system", "A"), Message("user", "x"), Message("assistant", "y"), Message("user", "z")),
        (),
        {},
        16,
    )
    found = chats_of(ask("A"), own, ask("A"))
    assert [group.count for group in found.plan(3).groups] == [2, 1]
    assert found.alone == 1
    [note] = found.notes()
    assert note.startswith("1 requests have turns of their own")
    assert chats_of(ask()).notes() == ()


def test_texts_and_embeddings_are_sent_as_they_stand() -> None:
    for endpoint in (Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS):
        found = chats_of(*[Request("a", endpoint, "m", (), ("text",), {}, 0)] * 3)
        assert found.alone == 3
        assert len(found.plan(3).groups) == 1


def test_a_group_knows_its_system_prompt_and_its_longest_request() -> None:
    [group] = chats_of(ask("word " * 300), ask("word " * 300, text="longer " * 99)).plan(2).groups
    assert 500 < group.prefix_tokens < 600
    assert group.window_tokens > group.prefix_tokens + 200
    assert group.shared_tokens == 0


@given(st.lists(st.sampled_from([{"system": "A"}, {"system": "B"}, {"model": "x"}, {"top_p": 0.5}])))
def test_every_line_is_planned_once_and_keeps_its_place_in_its_chat(kinds: list[Mapping[str, Any]]) -> None:
    plan = chats_of(*(ask(**kind) for kind in kinds)).plan(len(kinds))
    assert sorted(plan.order) == list(range(len(kinds)))
    for group in plan.groups:
        run = list(plan.order[group.start : group.start + group.count])
        assert run == sorted(run)
        assert len({str(kinds[index]) for index in run}) == 1
