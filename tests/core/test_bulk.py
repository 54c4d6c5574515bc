"""What a file makes of itself is known before anything is made of it."""

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.bulk import JOURNAL_FACTOR_MAX, JOURNAL_LINE_BYTES, LINES_FREE, Bulk

SHORTEST = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"a"}}\n'


def code(bulk: Bulk) -> str | None:
    refusal = bulk.refusal()
    return None if refusal is None else refusal.code


@given(st.lists(st.binary(max_size=40)))
def test_lines_are_counted_as_they_are_read_however_the_file_is_cut(blocks: list[bytes]) -> None:
    bulk = Bulk(10**9)
    assert all(bulk.add(block) for block in blocks)
    whole = b"".join(blocks)
    assert bulk.line_count == len(whole.split(b"\n")) - (whole.endswith(b"\n") or not whole)
    assert bulk.size_bytes == len(whole)


def test_more_lines_than_allowed_are_refused_and_the_rest_is_not_read() -> None:
    bulk = Bulk(3)
    assert bulk.add(b"a\nb\nc\n")
    assert code(bulk) is None
    assert bulk.add(b"d")  # the fourth, which may be the last
    assert code(bulk) == "too_many_lines"
    assert not bulk.add(b"\n")
    refusal = bulk.refusal()
    assert refusal is not None
    assert refusal.message == "The file has more than 3 lines (lines_max): hand it in in parts."


def test_lines_that_cannot_be_requests_are_refused_where_they_are_many() -> None:
    for line in (b"\n", b"x\n", b'{"a": 1}\n'):
        bulk = Bulk(5_000_000)
        bulk.add(line * (LINES_FREE + 1))
        assert code(bulk) == "lines_too_short"
    few = Bulk(5_000_000)
    few.add(b"\n" * LINES_FREE)
    assert code(few) is None


def test_the_shortest_requests_are_none_of_them() -> None:
    bulk = Bulk(5_000_000)
    bulk.add(SHORTEST * (LINES_FREE + 1))
    assert code(bulk) is None
    assert JOURNAL_FACTOR_MAX * len(SHORTEST) > 3 * JOURNAL_LINE_BYTES
