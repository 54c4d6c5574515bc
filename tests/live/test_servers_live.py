"""Two real Ollamas of batchd's own share a batch, one for each card; without cards both are the CPU's.

DIAGNOSTICS
    None: tests. Skipped where BATCHD_TEST_OLLAMA names no binary.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.blows import descendants, ends
from tests.house import read_lines
from tests.live.served import owning
from tests.prefixes import LINES, WAIT_S, written

pytestmark = [pytest.mark.live, pytest.mark.timeout(60 + 2 * WAIT_S)]


def test_two_own_servers_share_a_batch_and_leave_nothing_behind(tmp_path: Path, models: Path) -> None:
    batch = written(tmp_path / "two.jsonl", 2)
    with owning(tmp_path, models, 1, BATCHD_OLLAMA__GPUS="0,1") as daemon:
        result = daemon.result(daemon.submit(batch, {"pilot": 0}), WAIT_S)
        servers = descendants(daemon.pid)
        assert daemon.stop() == 0
    assert servers
    lines: list[Any] = read_lines(result / "output.jsonl")
    assert [line["custom_id"] for line in lines] == [f"package-{number}" for number in range(LINES)]
    assert len(Counter(line["response"]["server"] for line in lines)) == 2
    assert ends(servers, 20.0)
