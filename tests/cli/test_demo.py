"""`batchd demo`: its example, and what it says when things go wrong. The whole of it runs in test_readme."""

import subprocess
import sys
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.cli.demo import _check, example_file
from batchd.core.request import LineLimits, Request, parse_line
from batchd.errors import BatchdError


def test_the_example_is_a_batch_of_good_lines() -> None:
    lines = example_file().read_bytes().splitlines()
    parsed = [parse_line(raw, number, LineLimits(), None) for number, raw in enumerate(lines, 1)]
    assert len(parsed) >= 20
    assert all(isinstance(request, Request) for request in parsed)
    assert {request.model for request in parsed if isinstance(request, Request)} == {"smollm2:135m"}


def test_a_daemon_that_ended_is_told_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "daemon.log").write_text("first\n" * 50 + "the disk is full\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"]) as process:
        process.wait(30)
        with pytest.raises(BatchdError) as caught:
            _check(tmp_path, process, until=float("inf"))
    assert "ended by itself" in caught.value.message
    assert caught.value.next_step.endswith("the disk is full")
    assert caught.value.next_step.count("\n") < 10


def test_a_place_that_cannot_be_made_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert call(["demo", "--out", str(tmp_path / "file")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_a_demo_that_hangs_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "daemon.log").write_text("")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with pytest.raises(BatchdError, match="is stuck"):
            _check(tmp_path, process, until=0.0)
        process.kill()
