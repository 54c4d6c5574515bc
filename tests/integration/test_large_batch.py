"""A large batch against a server that answers at once: it finishes, and the daemon stays small.

SUMMARY
    BATCHD_TEST_LARGE_LINES sets the size; `just large` runs the headline job's 170,000 lines. The journal's
    mapped pages are page cache, so anonymous memory is what counts.
"""

import os
import threading
import time
from pathlib import Path

import pytest

from tests.batches import write_batch
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

LINES = int(os.environ.get("BATCHD_TEST_LARGE_LINES", "3000"))

#: The promise for 170,000 lines.
ANONYMOUS_BYTES_MAX = 150 * 10**6


class Watcher:
    """The largest anonymous memory of a process, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.largest = 0
        self._status = Path("/proc") / str(pid) / "status"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for line in self._status.read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.largest = max(self.largest, int(line.split()[1]) * 1024)


@pytest.mark.timeout(120 + LINES // 50)
def test_a_large_batch_finishes_in_bounded_memory(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES, groups=3)
    with (
        ChildSimulator(slots=8, seen_max=1) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="8") as daemon,
    ):
        began = time.perf_counter()
        with Watcher(daemon.pid) as watcher:
            result = daemon.result(daemon.submit(batch), wait_s=60 + LINES / 100)
        wall_s = time.perf_counter() - began
        assert daemon.stop() == 0
    lines = read_lines(result / "output.jsonl")
    print(f"{LINES} lines in {wall_s:.0f} s, at most {watcher.largest / 1e6:.1f} MB anonymous")
    assert [line["custom_id"] for line in lines] == [f"package-{number}" for number in range(LINES)]
    assert 0 < watcher.largest < ANONYMOUS_BYTES_MAX
