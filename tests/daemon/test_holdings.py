"""What an owner's batches take: at the claim, at accept, and while they are at work."""

from batchd.core.rules import Rules
from batchd.core.space import bytes_to_come
from batchd.core.waiting import Original
from batchd.daemon.holdings import Holdings
from tests.fakes.memory_spool import MemorySpool

ID = f"batch_{1:032x}"


def original(size_bytes: int, uid: int = 1, lines: int = 1) -> Original:
    return Original(b"a.jsonl", uid, (1, 1, size_bytes, 1, 1), False, lines)


def test_a_batch_in_the_house_counts_for_its_owner_until_it_leaves() -> None:
    holdings = Holdings(MemorySpool())
    holdings.claimed(ID, original(10))
    assert holdings.counts() == {1: 1}
    holdings.leave(ID)
    holdings.leave(ID)
    assert holdings.counts() == {}
    holdings.accepted(ID, 5)  # published meanwhile
    assert holdings.counts() == {}


def test_what_is_to_come_counts_from_the_moment_of_acceptance() -> None:
    holdings = Holdings(MemorySpool())
    other, rules = f"batch_{2:032x}", Rules(slots=1, owner_bytes_max=20 + 2 * bytes_to_come(1) - 1)
    holdings.claimed(ID, original(10))
    holdings.claimed(other, original(10))
    assert holdings.outgrown(other, original(10), 1, rules) == ""
    holdings.accepted(ID, 1)
    assert "owner_bytes_max" in holdings.outgrown(other, original(10), 1, rules)
    assert holdings.outgrown(other, original(10, uid=2), 1, rules) == ""


def test_what_lies_on_the_disk_counts_where_it_is_more_than_was_foretold() -> None:
    spool = MemorySpool()
    spool.drop(b"a.jsonl", b"x")
    spool.claim(b"a.jsonl", ID)
    holdings = Holdings(spool)
    holdings.claimed(ID, original(10))
    holdings.accepted(ID, 1)
    rules = Rules(slots=1, owner_bytes_max=100_000)
    other = f"batch_{2:032x}"
    assert holdings.outgrown(other, original(10), 1, rules) == ""
    spool.grown = 100_000
    assert holdings.outgrown(other, original(10), 1, rules) != ""
