"""Verify beside a living daemon, and after one that was killed: no false alarm, at any moment."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.batches import write_batch
from tests.house import ROOT, LivingDaemon, clean_environment
from tests.simulator.child import ChildSimulator

LINES = 300
SEED = 20261121


def verified(spool: Path) -> dict[str, Any]:
    """What `batchd verify --json` says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "verify", "--spool", str(spool), "--json"],
        env=clean_environment(spool.parent),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    assert done.returncode == (0 if report["is_well"] else 1), done.stderr
    return report


@pytest.mark.timeout(180)
def test_a_spool_is_well_at_every_moment_of_a_daemon_and_after_its_death(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    spool = tmp_path / "spool"
    batch = write_batch(tmp_path / "packages.jsonl", LINES)
    with batch.open("ab") as file:
        file.write(b"no request\n")
    at_work = 0
    with (
        ChildSimulator(tmp_path / "seen.jsonl", slots=4, delay_s=0.02, jitter_s=0.01) as server,
        LivingDaemon(spool, BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="4") as daemon,
    ):
        first = daemon.submit(batch)
        second = daemon.submit(batch)
        daemon.wait_until(lambda: bool(list((spool / "partial").iterdir())), "an answer")
        for _ in range(2):
            report = verified(spool)
            assert report["findings"] == [], f"seed {SEED}: {report}\n{daemon.log()}"
            assert report["is_held"]
            at_work += report["looked_at"]["batches_at_work"]
            time.sleep(chance.uniform(0.0, 0.3))
        for _ in range(2):
            daemon.kill()
            report = verified(spool)
            assert report["findings"] == [], f"seed {SEED}: {report}\n{daemon.log()}"
            assert not report["not_looked_at"]
            daemon.start()
            time.sleep(chance.uniform(0.3, 1.2))
        daemon.result(first)
        daemon.result(second)
        report = verified(spool)
        assert report["findings"] == [], f"{report}\n{daemon.log()}"
        assert daemon.stop() == 0
    assert at_work
    report = verified(spool)
    assert report["is_well"]
    assert not report["is_held"]
    assert report["looked_at"]["result_lines"] == 2 * (LINES + 1)
