"""Shares: what the answers of each group and each lane have cost, and how many came when.

SUMMARY
    One table of the journal: "group:" or "lane:" and its number -> a share, "pace" -> the pace. A share
    changes in the transaction that holds the answer: the sums are those of the answers, whatever is killed.

DIAGNOSTICS
    Fatal: a row that cannot be unpacked raises DamagedJournalError; LMDB's own errors pass to the caller.
"""

from collections.abc import Iterator, Sequence

import lmdb

from batchd.core.curve import Curve
from batchd.core.packing import pack_curve, pack_key, pack_share, unpack_curve, unpack_key, unpack_share
from batchd.core.record import Place, Share, Shares, Spent

_GROUP, _LANE, _PACE = b"group:", b"lane:", b"pace"


def read_shares(
    transaction: "lmdb.Transaction[bytes]", table: "lmdb._Database", groups: Sequence[int]
) -> Shares:
    """Of these groups, where they have answers, and of all lanes."""
    found = {number: transaction.get(_GROUP + pack_key(number), db=table) for number in groups}
    return Shares(
        {number: unpack_share(value) for number, value in found.items() if value is not None},
        dict(_lanes(transaction, table)),
        _pace(transaction, table),
    )


def add_share(
    transaction: "lmdb.Transaction[bytes]", table: "lmdb._Database", place: Place, spent: Spent
) -> None:
    """One more answer."""
    for key in (_GROUP + pack_key(place.group), _LANE + pack_key(place.lane)):
        value = transaction.get(key, db=table)
        share = Share() if value is None else unpack_share(value)
        transaction.put(key, pack_share(share.with_answer(spent)), db=table)
    pace = _pace(transaction, table).with_answer(place.at)
    transaction.put(_PACE, pack_curve(pace), db=table)


def _lanes(transaction: "lmdb.Transaction[bytes]", table: "lmdb._Database") -> Iterator[tuple[int, Share]]:
    with transaction.cursor(table) as cursor:
        is_there = cursor.set_range(_LANE)
        while is_there and cursor.key().startswith(_LANE):
            yield unpack_key(cursor.key().removeprefix(_LANE)), unpack_share(cursor.value())
            is_there = cursor.next()


def _pace(transaction: "lmdb.Transaction[bytes]", table: "lmdb._Database") -> Curve:
    value = transaction.get(_PACE, db=table)
    return Curve() if value is None else unpack_curve(value)
