"""The rows on a model, from runs of both kinds."""

from pathlib import Path

import pytest

from batchd.settings import load_settings
from batchd.tools.bench import Plan, probe
from batchd.tools.table import rows_on_model
from batchd.tools.workload import Workload
from tests.simulator.child import ChildSimulator


@pytest.mark.timeout(300)  # some daemons, one after the other, on a machine that may be busy
def test_one_group_many_groups_and_the_bare_loop(tmp_path: Path) -> None:
    plan = Plan(Workload(16, 4, 300), (16,), rounds=1)
    flags = {"spool": tmp_path, "ollama.mode": "attach", "slots": 2}
    with ChildSimulator(slots=2, decode_rate=500.0, version="0.33.3") as server:
        settings = load_settings(
            {**flags, "ollama.host": server.address, "share_card": True}, environ={"HOME": str(tmp_path)}
        )
        rows = rows_on_model(settings, probe(settings, "smollm2:135m", plan), plan, lambda share, text: None)
    assert [row.name for row in rows] == ["headline", "groups", "bare"]
    values = {row.name: row.value or 0.0 for row in rows}
    assert -1 < values["headline"] < 16
    assert values["groups"] > 0.5
    assert values["bare"] > 0
    assert {row.lines for row in rows} == {16}
