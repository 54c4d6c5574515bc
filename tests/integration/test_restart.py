"""A large batch whose daemon is killed: the next request after the restart, beside a plain scan of the file.

SUMMARY
    BATCHD_TEST_LARGE_LINES sets the size; `just large` runs the headline job's 170,000 lines. The times are
    printed, not asserted: they are a matter of the machine.

DIAGNOSTICS
    None.
"""

import hashlib
import os
import random
import time
from pathlib import Path

import pytest

from tests.batches import write_batch
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

LINES = int(os.environ.get("BATCHD_TEST_LARGE_LINES", "3000"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))


@pytest.mark.timeout(180 + LINES // 25)
def test_a_killed_daemon_goes_on_where_it_was_and_asks_nothing_twice(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES, groups=3)
    share = random.Random(SEED).uniform(0.1, 0.6)
    with (
        ChildSimulator(slots=8, seen_max=1) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="8") as daemon,
    ):
        batch_id = daemon.submit(batch)
        wait_s = 60 + LINES / 50
        daemon.wait_until(lambda: answered(server) >= share * LINES, f"{share:.0%} of the answers", wait_s)
        daemon.kill()
        before = answered(server)
        began = time.perf_counter()
        daemon.start()
        # One more is the canary of the load.
        daemon.wait_until(lambda: answered(server) > before + 1, "the next request")
        restart_s = time.perf_counter() - began
        result = daemon.result(batch_id, wait_s)
        repeated = answered(server) - LINES
        assert daemon.stop() == 0
    scan_s = scanned_s(batch)
    print(
        f"{LINES} lines, killed at {share:.0%}: a request {restart_s:.2f} s after the start of the process, "
        f"{repeated} repeated; a plain scan of the file takes {scan_s:.2f} s"
    )
    assert [line["custom_id"] for line in read_lines(result / "output.jsonl")] == [
        f"package-{number}" for number in range(LINES)
    ]
    assert repeated < 300  # what was in flight or not yet durable at one kill, and two canaries


def answered(server: ChildSimulator) -> int:
    return int(server.counts()["requests"])


def scanned_s(path: Path) -> float:
    """Read and hash it, as a daemon would that begins from the file."""
    began = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - began
