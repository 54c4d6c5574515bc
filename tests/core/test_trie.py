"""The trie: against every pair of texts, compared byte by byte."""

from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchd.core import trie as module
from batchd.core.trie import BLOCK_BYTES, Trie, common_bytes

#: Texts out of few pieces of whole and broken blocks, so that they agree here and there.
PIECE = st.sampled_from([b"a" * 64, b"b" * 64, b"a" * 100, b"c" * 7, b"d" * 200, b"e"])
TEXTS = st.lists(st.lists(PIECE, max_size=6).map(b"".join), max_size=24)


def built(texts: list[bytes]) -> tuple[Trie, list[int | None]]:
    trie = Trie(texts.__getitem__)
    root = trie.add_root()
    return trie, [trie.add(root, text) for text in texts]


def above(trie: Trie, node: int) -> list[int]:
    """The node and all above it."""
    found = [node]
    while trie.parent[found[-1]] >= 0:
        found.append(trie.parent[found[-1]])
    return found


def slow_common(one: bytes, other: bytes) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@given(TEXTS)
@example([b"a" * 64, b"a" * 64, b"a" * 128])
@example([b"", b"", b"a"])
@example([b"a" * 192 + b"x", b"a" * 192 + b"y", b"a" * 192 + b"v", b"a" * 64 + b"z", b"a" * 192 + b"w"])
def test_two_texts_meet_in_a_node_as_deep_as_they_agree_in_whole_blocks(texts: list[bytes]) -> None:
    trie, _ = built(texts)
    for one, other in combinations(range(len(texts)), 2):
        agreed = slow_common(texts[one], texts[other])
        below = set(above(trie, trie.home[one]))
        meeting = next(node for node in above(trie, trie.home[other]) if node in below)
        blocks = agreed // BLOCK_BYTES if texts[one] != texts[other] else -(-agreed // BLOCK_BYTES)
        assert trie.depth[meeting] == blocks
    assert all(trie.depth[trie.parent[node]] < trie.depth[node] for node in range(1, len(trie.parent)))


@given(TEXTS)
def test_a_node_knows_to_the_byte_what_all_texts_below_it_share(texts: list[bytes]) -> None:
    trie, _ = built(texts)
    for node in range(1, len(trie.parent)):
        below = [text for text, home in zip(texts, trie.home, strict=True) if node in above(trie, home)]
        assert len(below) >= 2
        assert trie.shared[node] == min(slow_common(below[0], text) for text in below[1:])
        assert texts[trie.line[node]] in below


@given(TEXTS)
def test_the_same_text_again_is_told_with_the_number_of_the_first(texts: list[bytes]) -> None:
    _, found = built(texts)
    first: dict[bytes, int] = {}
    for line, (text, earlier) in enumerate(zip(texts, found, strict=True)):
        assert earlier == first.get(text)
        first.setdefault(text, line)


@given(TEXTS)
def test_roots_share_nothing(texts: list[bytes]) -> None:
    doubled = [*texts, *texts]
    trie = Trie(doubled.__getitem__)
    roots = trie.add_root(), trie.add_root()
    for number, text in enumerate(doubled):
        trie.add(roots[number >= len(texts)], text)
    for home in trie.home[len(texts) :]:
        assert above(trie, home)[-1] == roots[1]


def test_texts_without_a_common_block_are_never_asked_for_again() -> None:
    def asked(line: int) -> bytes:
        raise AssertionError(f"text {line} was asked for")

    trie = Trie(asked)
    root = trie.add_root()
    for number in range(1_000):
        assert trie.add(root, f"{number} is another text".encode() * 9) is None
    assert (set(trie.home), repr(trie)) == ({root}, "<Trie of 1000 texts, 1 nodes>")


def test_a_group_is_asked_for_again_only_when_it_turns_out_to_share_more() -> None:
    texts = [b"rubric " * 1_000 + f"{number:09} is asked".encode() * 10 for number in range(500)]
    asked = []

    def text_of(line: int) -> bytes:
        asked.append(line)
        return texts[line]

    trie = Trie(text_of)
    root = trie.add_root()
    for text in texts:
        trie.add(root, text)
    assert len(asked) < 20
    node = trie.home[0]
    assert trie.shared[above(trie, node)[-2]] == 7_000 + 6
    trie.forget_texts()


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_the_common_beginning_is_that_of_a_slow_count(head: bytes, one: bytes, other: bytes) -> None:
    assert common_bytes(head + one, head + other) == slow_common(head + one, head + other)


def test_two_blocks_with_one_hash_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hash", lambda value: 0, raising=False)
    trie, found = built([b"a" * 100, b"b" * 100, b"c"])
    assert (set(trie.home), found) == ({0}, [None] * 3)
