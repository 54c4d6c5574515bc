"""Shares on the disk: they change with the answer, and only with it."""

from pathlib import Path

import lmdb
import pytest

from batchd.core.curve import Curve
from batchd.core.record import Place, Share, Shares, Spent
from batchd.edges.journal.shares import add_share, read_shares
from batchd.errors import DamagedJournalError

SPENT = Spent(100, 5, 90, 0.5, 1.5, cold_answers=1)


def test_what_a_transaction_takes_back_was_never_counted(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1) as environment:
        table = environment.open_db(b"shares")
        with environment.begin(write=True) as transaction:
            add_share(transaction, table, Place(2, 1, 50.0), SPENT)
        with environment.begin(write=True) as transaction:
            add_share(transaction, table, Place(2, 1, 51.0), SPENT)
            transaction.abort()
        one = Share(1, 100, 90, 5, 1, 2.0)
        with environment.begin() as transaction:
            assert read_shares(transaction, table, [0, 2]) == Shares(
                {2: one}, {1: one}, Curve(50.0, 1.0, (1,))
            )
        with environment.begin(write=True) as transaction:
            transaction.put(b"pace", b"torn", db=table)
        with environment.begin() as transaction, pytest.raises(DamagedJournalError):
            read_shares(transaction, table, [])
