from collections.abc import Sequence

from batchd.core.settle import (
    ALONE_S,
    Kind,
    Seen,
    Watched,
    batch_name,
    observe,
    options_name,
    turns,
    unclaimable,
)


def seen(name: bytes, size: int, kind: Kind = Kind.BATCH, reason: str = "", uid: int = 0) -> Seen:
    return Seen(name, kind, (1, 2, size, 3, 4), reason, uid)


def names(found: Sequence[Seen]) -> list[bytes]:
    return [item.name for item in found]


def test_a_file_is_settled_when_two_sweeps_far_enough_apart_see_the_same() -> None:
    memory, settled = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=2.0)
    assert settled == []
    memory, settled = observe(memory, [seen(b"a.jsonl", 10)], now=1.9, settle_s=2.0)
    assert settled == []
    _, settled = observe(memory, [seen(b"a.jsonl", 10)], now=2.0, settle_s=2.0)
    assert names(settled) == [b"a.jsonl"]


def test_a_file_that_grows_begins_again() -> None:
    memory, _ = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=2.0)
    memory, settled = observe(memory, [seen(b"a.jsonl", 11)], now=2.0, settle_s=2.0)
    assert settled == []
    assert memory[b"a.jsonl"] == Watched((1, 2, 11, 3, 4), 2.0)


def test_a_name_that_has_gone_is_forgotten() -> None:
    memory, _ = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=0.0)
    memory, _ = observe(memory, [], now=1.0, settle_s=0.0)
    assert memory == {}


def test_an_options_file_that_still_changes_holds_its_batch_back() -> None:
    batch, options = seen(b"a.jsonl", 10), seen(b"a.options.json", 1, Kind.OPTIONS)
    memory, _ = observe({}, [batch], now=0.0, settle_s=2.0)
    memory, settled = observe(memory, [batch, options], now=2.0, settle_s=2.0)
    assert settled == []
    _, settled = observe(memory, [batch, options], now=4.0, settle_s=2.0)
    assert names(settled) == [b"a.jsonl"]


def test_what_cannot_be_claimed_never_settles() -> None:
    memory, _ = observe({}, [seen(b"pipe", 0, Kind.UNCLAIMABLE)], now=0.0, settle_s=0.0)
    _, settled = observe(memory, [seen(b"pipe", 0, Kind.UNCLAIMABLE)], now=9.0, settle_s=0.0)
    assert settled == []


def test_the_oldest_is_first() -> None:
    memory, _ = observe({}, [seen(b"b.jsonl", 1)], now=0.0, settle_s=1.0)
    memory, _ = observe(memory, [seen(b"a.jsonl", 1), seen(b"b.jsonl", 1)], now=1.0, settle_s=1.0)
    _, settled = observe(memory, [seen(b"a.jsonl", 1), seen(b"b.jsonl", 1)], now=3.0, settle_s=1.0)
    assert names(settled) == [b"b.jsonl", b"a.jsonl"]


def test_owners_take_turns_and_each_keeps_its_order() -> None:
    many = [seen(b"many-%d.jsonl" % n, 1, uid=1) for n in range(3)]
    one = [seen(b"one.jsonl", 1, uid=2)]
    assert names(turns(many + one, {})) == [b"many-0.jsonl", b"one.jsonl", b"many-1.jsonl", b"many-2.jsonl"]


def test_who_has_batches_in_the_house_comes_after_who_has_none() -> None:
    settled = [seen(b"a.jsonl", 1, uid=1), seen(b"b.jsonl", 1, uid=1), seen(b"c.jsonl", 1, uid=2)]
    assert names(turns(settled, {1: 3})) == [b"c.jsonl", b"a.jsonl", b"b.jsonl"]


def test_options_that_cannot_be_claimed_hold_their_batch_back_and_both_are_listed() -> None:
    items = [seen(b"a.jsonl", 1), seen(b"a.options.json", 0, Kind.UNCLAIMABLE, "it is a directory")]
    memory, settled = observe({}, items, now=0.0, settle_s=0.0)
    assert settled == []
    found = {item.name: item.reason for item in unclaimable(memory, items, now=0.0)}
    assert found == {
        b"a.jsonl": "its options file cannot be claimed: it is a directory",
        b"a.options.json": "it is a directory",
    }


def test_options_alone_are_listed_when_they_have_waited_for_a_while() -> None:
    alone = [seen(b"a.options.json", 1, Kind.OPTIONS)]
    memory, _ = observe({}, alone, now=0.0, settle_s=0.0)
    assert unclaimable(memory, alone, now=ALONE_S - 1.0) == []
    [listed] = unclaimable(memory, alone, now=ALONE_S)
    assert (listed.name, listed.kind) == (b"a.options.json", Kind.UNCLAIMABLE)
    assert "batch file is missing" in listed.reason
    assert "hand in both" in listed.reason


def test_options_beside_their_batch_are_not_listed_however_long_both_wait() -> None:
    both = [seen(b"a.jsonl", 1), seen(b"a.options.json", 1, Kind.OPTIONS)]
    memory, _ = observe({}, both, now=0.0, settle_s=0.0)
    assert unclaimable(memory, both, now=10 * ALONE_S) == []


def test_a_batch_and_its_options_find_each_other() -> None:
    assert options_name(b"a.b.jsonl") == b"a.b.options.json"
    assert batch_name(options_name(b"a.b.jsonl")) == b"a.b.jsonl"


def test_options_of_another_owner_hold_no_batch_back_and_are_listed_as_ignored() -> None:
    batch = seen(b"a.jsonl", 10, uid=1)
    growing = seen(b"a.options.json", 1, Kind.OPTIONS, uid=2)
    stuck = seen(b"a.options.json", 1, Kind.UNCLAIMABLE, "it is a link", uid=2)
    for foreign in (growing, stuck):
        memory, _ = observe({}, [batch], now=0.0, settle_s=2.0)
        memory, settled = observe(memory, [batch, foreign], now=2.0, settle_s=2.0)
        assert names(settled) == [b"a.jsonl"]
        assert names(unclaimable(memory, [batch, foreign], 2.0)) == [b"a.options.json"]
    memory, _ = observe({}, [batch, growing], now=0.0, settle_s=2.0)
    assert "another user" in unclaimable(memory, [batch, growing], 2.0)[0].reason
