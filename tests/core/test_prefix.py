"""Prefix groups: who shares a beginning with whom, to the byte, and who asks the same."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core import prefix
from batchd.core.prefix import NESTED_BYTES_MIN, PrefixGroups, Tree, prefix_tokens
from batchd.core.request import Endpoint, Message, Request, canonical_text
from batchd.core.tokens import estimate_request
from batchd.core.trie import BLOCK_BYTES, common_bytes

RUBRIC = "rubric, word for word. " * 40
DOCUMENT = "a page of the document. " * 50


def chat(
    *texts: str,
    model: str = "m",
    bound: int = 16,
    roles: tuple[str, ...] = ("system", "user"),
    **parameters: object,
) -> Request:
    messages = tuple(Message(role, text) for role, text in zip(roles[-len(texts) :], texts, strict=True))
    return Request("a", Endpoint.CHAT, model, messages, (), parameters, bound)


def collected(*requests: Request, deduplicate: bool = False) -> tuple[PrefixGroups, list[int | None]]:
    groups = PrefixGroups(requests.__getitem__, deduplicate)
    return groups, [groups.add(index, request) for index, request in enumerate(requests)]


def tree_of(*requests: Request) -> Tree:
    return collected(*requests)[0].tree()


def groups_of(*requests: Request) -> list[int]:
    return list(tree_of(*requests).group_of)


def shared_by(*requests: Request) -> list[int]:
    """Of each request, the bytes that its group shares."""
    tree = tree_of(*requests)
    return [tree.bytes_shared[group] for group in tree.group_of]


def test_a_system_message_is_a_beginning() -> None:
    shared = len(canonical_text(chat(RUBRIC, "x"))) - len(b"x\xff")
    assert shared_by(chat(RUBRIC, "one"), chat(RUBRIC, "two"), chat("other", "one")) == [shared, shared, 0]


def test_so_is_a_rubric_that_was_pasted_into_the_user_message() -> None:
    shared = len(b"user\xfe") + len(RUBRIC) + len("Record: ")
    requests = [chat(f"{RUBRIC}Record: {name}") for name in ("alpha", "beta", "gamma")]
    assert shared_by(*requests) == [shared] * 3


def test_so_are_few_shot_examples_and_the_start_of_the_text_that_follows() -> None:
    roles = ("system", "user", "assistant", "user")
    requests = [chat(RUBRIC, "example", "answer", f"Now {n}", roles=roles) for n in range(3)]
    assert shared_by(*requests) == [common_bytes(*map(canonical_text, requests[:2]))] * 3


def test_a_prompt_without_messages_has_a_beginning_too() -> None:
    requests = [Request("a", Endpoint.COMPLETIONS, "m", (), (RUBRIC + end,), {}, 16) for end in "ab"]
    assert shared_by(*requests) == [len(RUBRIC)] * 2


def test_groups_inside_of_a_group() -> None:
    """The same system prompt, then one of two documents, then questions; and questions without a document."""
    requests = [chat(RUBRIC, f"{name} {DOCUMENT} question {n}") for name in ("A", "B") for n in range(3)]
    requests += [chat(RUBRIC, f"{n} is asked without a document") for n in range(4)]
    tree = tree_of(*requests)
    inner, others = tree.group_of[0], tree.group_of[6]
    assert list(tree.group_of) == [inner] * 3 + [tree.group_of[3]] * 3 + [others] * 4
    assert tree.parent[inner] == tree.parent[tree.group_of[3]] == others
    assert tree.parent[tree.parent[others]] == -1
    assert (tree.requests[others], tree.requests_below[others]) == (4, 10)
    assert tree.meeting(inner, tree.group_of[3]) == others
    assert tree.bytes_shared[inner] - tree.bytes_shared[others] >= NESTED_BYTES_MIN


def test_a_few_words_more_in_common_are_no_group_inside() -> None:
    assert len(set(groups_of(*(chat(RUBRIC, f"{n // 2} {'x' * 200} {n}") for n in range(8))))) == 1


def test_models_and_endpoints_share_nothing() -> None:
    prompt = Request("a", Endpoint.COMPLETIONS, "m", (), (RUBRIC,), {}, 16)
    found = groups_of(*[chat(RUBRIC, "1"), chat(RUBRIC, "1", model="n"), prompt] * 2)
    assert found[:3] == found[3:]
    assert len(set(found)) == 3


def test_texts_to_embed_share_nothing() -> None:
    requests = [Request("a", Endpoint.EMBEDDINGS, "m", (), (RUBRIC + end,), {}, 0) for end in "ab"]
    assert shared_by(*requests) == [0, 0]


def test_a_role_is_part_of_the_beginning() -> None:
    requests = [chat(RUBRIC, "1"), chat(RUBRIC, "1", roles=("user", "user"))]
    assert shared_by(*requests) == [0, 0]
    assert tree_of(*requests).meeting(0, 0) == 0


def test_requests_of_two_families_meet_nowhere() -> None:
    tree = tree_of(chat(RUBRIC, "1"), chat(RUBRIC, "2"), chat(RUBRIC, "1", model="n"))
    assert tree.meeting(tree.group_of[0], tree.group_of[2]) == -1


def test_the_sums_are_over_all_requests() -> None:
    short, long = chat("r", "one"), chat("r", "one " * 80, bound=5)
    groups, _ = collected(short, long)
    assert groups.prompt_tokens == estimate_request(short) + estimate_request(long)
    assert groups.longest_tokens == estimate_request(long)
    assert list(groups.need) == [estimate_request(short) + 16, estimate_request(long) + 5]
    assert (groups.families, repr(groups)) == (
        [("m", "/v1/chat/completions")],
        "<PrefixGroups of 2 requests>",
    )
    assert (prefix_tokens(0), prefix_tokens(300) > 90) == (0, True)


PIECES = st.lists(st.sampled_from([RUBRIC, DOCUMENT, "x" * 63, "word ", "é"]), min_size=1, max_size=5).map(
    "".join
)


@given(st.lists(st.tuples(PIECES, PIECES), max_size=14))
def test_each_group_shares_exactly_what_its_texts_have_in_common(drawn: list[tuple[str, str]]) -> None:
    """Against the longest common beginning of sorted texts, which needs all of them in memory."""
    texts = [canonical_text(chat(*pair)) for pair in drawn]
    tree = tree_of(*(chat(*pair) for pair in drawn))
    for group in range(1, len(tree.parent)):
        below = sorted(
            text for text, home in zip(texts, tree.group_of, strict=True) if _is_below(tree, home, group)
        )
        assert len(below) == tree.requests_below[group] >= 2
        assert tree.bytes_shared[group] == common_bytes(below[0], below[-1])
    for one, text in enumerate(texts):
        for other in range(one):
            common = common_bytes(text, texts[other])
            met = tree.meeting(tree.group_of[one], tree.group_of[other])
            assert common - tree.bytes_shared[met] < NESTED_BYTES_MIN + 2 * BLOCK_BYTES
            assert common >= tree.bytes_shared[met]


def _is_below(tree: Tree, home: int, group: int) -> bool:
    return tree.meeting(home, group) == group


def test_the_same_request_again_is_a_copy_of_the_first() -> None:
    first, again = chat(RUBRIC, "one", temperature=0.0), chat(RUBRIC, "one", temperature=0.0)
    groups, found = collected(first, chat(RUBRIC, "two", temperature=0.0), again, again, deduplicate=True)
    assert found == [None, None, 0, 0]
    assert (list(groups.is_copy), groups.copies) == ([0, 0, 1, 1], 2)
    assert groups.prompt_tokens == 2 * estimate_request(first)
    tree = groups.tree()
    assert (sum(tree.requests), tree.requests_below[0]) == (2, 2)


@pytest.mark.parametrize("parameters", [{"temperature": 0.0}, {"seed": 1}, {"seed": 1, "temperature": 0.7}])
def test_with_temperature_0_or_a_seed_the_answer_cannot_differ(parameters: dict[str, object]) -> None:
    request = replace(chat(RUBRIC, "one"), parameters=parameters)
    assert collected(request, request, deduplicate=True)[1] == [None, 0]
    assert collected(request, request, deduplicate=False)[1] == [None, None]


def test_what_may_be_answered_in_another_way_is_asked_again() -> None:
    request = chat("one", temperature=0.0)
    others = [
        chat("one"),
        chat("one", temperature=0.7),
        chat("one", temperature=0.0, top_p=0.5),
        chat("one", bound=17, temperature=0.0),
        chat("one", model="n", temperature=0.0),
        chat("two", temperature=0.0),
    ]
    for other in others:
        assert collected(request, other, deduplicate=True)[1] == [None, None]
        assert collected(other, request, deduplicate=True)[1] == [None, None]
    assert collected(*others, request, *others[2:], deduplicate=True)[1] == [None] * 7 + [2, 3, 4, 5]


def test_a_custom_id_is_no_part_of_what_is_asked() -> None:
    request = chat("one", temperature=0.0)
    assert collected(request, replace(request, custom_id="b"), deduplicate=True)[1] == [None, 0]


def test_two_requests_with_one_hash_are_compared_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "hash", lambda value: 7, raising=False)
    one, other = chat("one", temperature=0.0), chat("one", seed=3)
    assert collected(one, other, deduplicate=True)[1] == [None, None]


def test_one_request_has_so_many_copies_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "COPIES_MAX", 2)
    request = chat("one", temperature=0.0)
    assert collected(*[request] * 7, deduplicate=True)[1] == [None, 0, 0, None, 3, 3, None]
