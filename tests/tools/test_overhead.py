"""The table of what must be fast, with next to no work: shape and arithmetic, never a time."""

import time
from pathlib import Path

import pytest

from batchd.core.bars import BARS
from batchd.settings import load_settings
from batchd.tools import slow_disk
from batchd.tools.machine import this_machine
from batchd.tools.overhead import measure_overhead
from batchd.tools.scope import FULL, Scope, seconds
from batchd.tools.sheet import table_sheet
from batchd.tools.table import in_order

TINY = Scope(1, 30, 30, 40, 20, (60,), 1)


@pytest.mark.timeout(600)  # eight daemons, one after the other, on a machine that may be busy
def test_every_row_without_a_model_is_measured(tmp_path: Path) -> None:
    settings = load_settings({"spool": tmp_path, "share_card": True}, environ={"HOME": str(tmp_path)})
    shares: list[float] = []
    rows = measure_overhead(settings, TINY, lambda share, text: shares.append(share))
    table = in_order(rows)
    assert [row.name for row in table] == list(BARS)
    missing = {row.name for row in table if row.value is None}
    assert missing == {"headline", "groups", "bare", "memory_million"}
    assert all(row.value is not None and row.value >= 0 for row in rows)
    assert shares == sorted(shares)
    assert "instant server" in table_sheet(table, this_machine())


def test_more_work_is_said_to_take_longer() -> None:
    assert seconds(TINY) < seconds(Scope()) < seconds(FULL)


def test_only_commits_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for name in ("commit.begun", "commit.sealed", "publish.begun"):
        slow_disk.slowed(name)
    assert slept == [slow_disk.COMMIT_S]
