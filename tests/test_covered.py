"""Every branch of what decides about a model server is passed by the tests of just that file's floor."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: What decides, and the tests that must cover it without the help of any others.
COVERED = {
    "batchd/core/course.py": "tests/core/test_course.py",
    "batchd/core/edge.py": "tests/core/test_edge.py",
    "batchd/core/governor.py": "tests/core/test_governor.py",
    "batchd/core/limits.py": "tests/core/test_limits.py",
    "batchd/core/restarts.py": "tests/core/test_restarts.py",
    "batchd/core/serverstate.py": "tests/core/test_serverstate.py",
    "batchd/daemon/steering.py": "tests/daemon/test_steering.py",
    "batchd/daemon/supervisor.py": "tests/daemon/test_supervisor.py",
}


@pytest.mark.skipif(
    importlib.util.find_spec("coverage") is None, reason="the extra batchd[dev] lacks coverage"
)
def test_governor_and_supervisor_have_every_branch_covered_by_their_own_tests(tmp_path: Path) -> None:
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage"), "PYTHONPATH": str(ROOT)}

    def coverage(*words: str) -> str:
        command = [sys.executable, "-m", "coverage", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    include = f"--include={','.join(COVERED)}"
    coverage("run", include, "-m", "pytest", "-q", "-p", "no:cacheprovider", *COVERED.values())
    print(coverage("report", include))
