"""`batchd pause`, `resume` and `cancel` against a living daemon; each has what it says in its own file."""

from pathlib import Path

import pytest

from batchd.cli import call
from batchd.core.status import parse
from tests.batches import write_batch
from tests.cli.asked import OTHER, asked, told
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator


def paused(root: Path) -> set[str]:
    """The paused batches of a daemon that is ready, as its status shows them."""
    report = parse((root / "status.json").read_bytes())
    return {batch.id for batch in report.batches if batch.is_paused and report.state == "ready"}


def test_a_batch_that_is_paused_already_keeps_its_reason(
    asked_spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["pause", "mail", "--spool", str(asked_spool)]) == 0
    assert "is paused already: all is empty" in capsys.readouterr().out
    assert told(asked_spool) == [f"{OTHER}.pause"]


def test_a_paused_batch_gives_way_survives_a_restart_and_goes_on_when_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "spool"
    first = write_batch(tmp_path / "first.jsonl", 60, system="You are terse.")
    second = write_batch(tmp_path / "second.jsonl", 3, system="You are terse.")
    with (
        ChildSimulator(tmp_path / "asked.jsonl", delay_s=0.05) as server,
        LivingDaemon(root, BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        one = daemon.submit(first)
        daemon.wait_until(lambda: server.counts()["answers"] >= 5, "answers")
        assert call(["pause", "first.jsonl", "--spool", str(root)]) == 0
        assert f"batchd resume {one[:18]} --spool {root}\n" in capsys.readouterr().out
        two = daemon.submit(second)
        daemon.result(two)
        assert not list((root / "outbox").glob(f"*.{one}"))
        daemon.kill()
        (root / "status.json").unlink()
        daemon.start()
        daemon.wait_until((root / "status.json").exists, "a status")
        daemon.wait_until(lambda: one in paused(root), "the pause after a restart")
        assert call(["status", "--spool", str(root)]) == 0
        assert (
            f"batchd pause was typed; to go on, type: batchd resume {one[:18]} --spool {root}"
            in capsys.readouterr().out
        )
        assert call(["resume", one[:12], "--spool", str(root)]) == 0
        result = daemon.result(one)
        daemon.wait_until(lambda: not list((root / "control").iterdir()), "the end of the controls")
        assert set(asked(server).values()) == {1, 2}, "both files begin with the same three requests"
        assert asked(server).total() == 60 + 3
    assert len(read_lines(result / "output.jsonl")) == 60
