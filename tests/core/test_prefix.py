"""Prefix groups: who shares a beginning with whom, and what is known of it afterwards."""

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.prefix import PrefixGroups
from batchd.core.request import Endpoint, Message, Request
from batchd.core.tokens import estimate_request


def chat(
    *texts: str, model: str = "m", bound: int = 16, roles: tuple[str, ...] = ("system", "user")
) -> Request:
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=True))
    return Request("a", Endpoint.CHAT, model, messages, (), {}, bound)


def groups_of(*requests: Request) -> list[int]:
    groups = PrefixGroups()
    return [groups.add(request) for request in requests]


def test_requests_that_differ_only_in_their_last_message_are_one_group() -> None:
    assert groups_of(chat("rubric", "one"), chat("rubric", "two"), chat("other", "one")) == [0, 0, 1]


def test_models_and_endpoints_share_nothing() -> None:
    prompt = Request("a", Endpoint.COMPLETIONS, "m", (), ("one",), {}, 16)
    embed = Request("a", Endpoint.EMBEDDINGS, "m", (), ("one",), {}, 0)
    assert groups_of(chat("r", "1"), chat("r", "1", model="n"), prompt, embed) == [0, 1, 2, 3]


def test_a_role_is_part_of_the_beginning() -> None:
    assert groups_of(chat("r", "1"), chat("r", "1", roles=("user", "user"))) == [0, 1]


def test_equal_texts_cut_at_another_place_are_another_beginning() -> None:
    three = ("system", "user", "user")
    assert groups_of(chat("ab", "c", "x", roles=three), chat("a", "bc", "x", roles=three)) == [0, 1]


def test_a_group_knows_its_size_its_window_and_what_is_shared() -> None:
    groups = PrefixGroups()
    short, long = chat("rubric " * 50, "one", bound=10), chat("rubric " * 50, "one " * 80, bound=5)
    for request in (short, long, short):
        groups.add(request)
    [group] = groups.summary()
    assert (group.model, group.endpoint, group.count) == ("m", "/v1/chat/completions", 3)
    assert group.window_tokens == estimate_request(long) + 5
    assert 0 < group.prefix_tokens < estimate_request(short)
    assert group.bytes_shared >= len("rubric " * 50)


def test_the_sums_are_over_all_requests() -> None:
    groups = PrefixGroups()
    short, long = chat("r", "one"), chat("r", "one " * 80)
    groups.add(short)
    groups.add(long)
    assert groups.prompt_tokens == estimate_request(short) + estimate_request(long)
    assert groups.longest_tokens == estimate_request(long)


def test_texts_without_a_beginning_share_no_tokens() -> None:
    groups = PrefixGroups()
    groups.add(Request("a", Endpoint.EMBEDDINGS, "m", (), ("one",), {}, 0))
    groups.add(Request("b", Endpoint.EMBEDDINGS, "m", (), ("two",), {}, 0))
    [group] = groups.summary()
    assert (group.count, group.prefix_tokens, group.bytes_shared) == (2, 0, 0)


@given(st.lists(st.tuples(st.sampled_from("mn"), st.sampled_from(["r", "s", ""]), st.text(max_size=9))))
def test_every_request_is_in_exactly_one_group_and_groups_are_numbered_by_their_first(
    drawn: list[tuple[str, str, str]],
) -> None:
    groups = PrefixGroups()
    given_groups = [groups.add(chat(head, text, model=model)) for model, head, text in drawn]
    assert [group.count for group in groups.summary()] == [
        given_groups.count(number) for number in range(len(groups.summary()))
    ]
    assert list(dict.fromkeys(given_groups)) == list(range(len(groups.summary())))
    keys = {(model, head): number for (model, head, _), number in zip(drawn, given_groups, strict=True)}
    assert all(keys[model, head] == n for (model, head, _), n in zip(drawn, given_groups, strict=True))
    assert len(set(keys.values())) == len(keys)
