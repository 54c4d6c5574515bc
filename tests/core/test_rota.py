"""Whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.rota import OWNERS_MAX, Rota, parse


def test_whoever_was_served_longest_ago_or_never_is_next() -> None:
    waiting = [("a1", 1), ("a2", 1), ("b1", 2), ("c1", 3)]
    rota, order = Rota(), []
    while (chosen := rota.choose(waiting)) is not None:
        order.append(chosen)
        rota = rota.begun(chosen, dict(waiting)[chosen]).ended()
        waiting = [item for item in waiting if item[0] != chosen]
    assert order == ["a1", "b1", "c1", "a2"]
    assert rota.choose([("a3", 1), ("c2", 3)]) == "c2"
    assert rota.choose([("a3", 1), ("d1", 4)]) == "d1"
    assert rota.choose([("a3", 1)]) == "a3"


def test_what_was_at_work_goes_on_first() -> None:
    rota = Rota().begun("a1", 1)
    assert rota.choose([("b1", 2), ("a1", 1)]) == "a1"
    assert rota.ended().choose([("b1", 2), ("a1", 1)]) == "b1"


@given(st.lists(st.integers(0, 2**32), max_size=400))
def test_it_is_kept_over_restarts_and_bounded(owners: list[int]) -> None:
    rota = Rota()
    for owner in owners:
        rota = rota.begun(f"batch_{owner}", owner)
    assert parse(rota.as_bytes()) == rota
    assert len(rota.served) <= OWNERS_MAX
    assert rota.served[-1:] == tuple(owners[-1:])


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b'{"served": [true, "x", 1], "at_work": 7}']))
def test_what_cannot_be_read_is_a_rota_without_a_past(raw: bytes) -> None:
    assert set(parse(raw).served) <= {1}
    assert parse(raw).at_work == ""
