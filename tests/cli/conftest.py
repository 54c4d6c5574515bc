"""What holds for all tests of the command line."""

from dataclasses import replace
from pathlib import Path

import pytest

from batchd.cli import ask
from batchd.core.status import render
from batchd.edges.clock import SystemClock
from tests.cli.asked import REPORT
from tests.house import BESIDE_OTHERS


@pytest.fixture(autouse=True)
def _nothing_set(nothing_set: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs that are called in the test's own process read its environment. Another batchd may be at work on
    this machine meanwhile."""
    for name, value in BESIDE_OTHERS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def asked_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool whose daemon wrote its status just now, and will not write another."""
    monkeypatch.setattr(ask, "LOOK_S", 0.0)
    (tmp_path / "control").mkdir()
    (tmp_path / "status.json").write_bytes(render(replace(REPORT, written_at=SystemClock().now())))
    return tmp_path
