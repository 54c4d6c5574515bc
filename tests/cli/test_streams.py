"""Standard streams that are closed, full or broken say nothing of the batch: no exit code hangs on them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batches import write_batch
from tests.cli.test_source import shell
from tests.house import clean_environment
from tests.simulator.child import ChildSimulator

BAD = b'{"custom_id": "a"}\n'


@pytest.mark.parametrize(
    ("redirect", "bad_lines"),
    [
        (">&-", 0),
        (">/dev/full", 0),
        (">/dev/full", 3_000),
        ("| true", 3_000),
        (">/dev/full 2>&1", 3_000),
        ("<&- >&- 2>&-", 3_000),
    ],
)
def test_check_has_its_own_exit_code(tmp_path: Path, redirect: str, bad_lines: int) -> None:
    file = write_batch(tmp_path / "a.jsonl", 3)
    file.write_bytes(BAD * bad_lines + file.read_bytes())
    done = shell(tmp_path, f"batchd check a.jsonl {redirect}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == (1 if bad_lines else 0), done.stderr
    assert [word for word in ("bug", "Traceback", "Exception") if word in done.stderr] == []
    assert ("took no more: No space left" in done.stderr) == (redirect == ">/dev/full")


@pytest.mark.parametrize("redirect", [">/dev/full 2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_run_has_the_exit_code_of_its_batch(tmp_path: Path, redirect: str) -> None:
    write_batch(tmp_path / "a.jsonl", 3)
    with ChildSimulator() as server:
        done = shell(tmp_path, f"batchd run a.jsonl {redirect}", OLLAMA_HOST=server.address)
    assert done.returncode == 0, done.stderr
    [result] = (tmp_path / "batchd-results").glob("a.*")
    assert len((result / "output.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help >/dev/full 2>&1", 0),
        ("check --help >&- 2>&-", 0),
        ("config >/dev/full", 0),
        ("--version 2>&1 | true", 0),
        ("statsu 2>/dev/full", 2),
        ("status --json --spool . 2>&- >&-", 78),
    ],
)
def test_no_other_verb_ends_with_a_bug(tmp_path: Path, arguments: str, code: int) -> None:
    done = shell(tmp_path, f"batchd {arguments}; exit ${{PIPESTATUS[0]}}", TMPDIR=str(tmp_path))
    assert done.returncode == code
    assert list(tmp_path.glob("*.trace")) == []


def test_a_closed_stream_gives_its_number_to_no_file(tmp_path: Path) -> None:
    script = (
        "import os, sys; from batchd.cli.streams import mend_streams; mend_streams(); "
        "file = open('journal', 'wb'); os.write(1, b'x'); os.write(2, b'y'); print('z'); "
        "sys.exit(0 if file.fileno() > 2 else 9)"
    )
    command = ["bash", "-c", f'{sys.executable} -c "{script}" <&- >&- 2>&-']
    env = clean_environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    done = subprocess.run(command, cwd=tmp_path, env=env, timeout=60, check=False)
    assert done.returncode == 0
    assert (tmp_path / "journal").read_bytes() == b""


def test_a_pipe_that_does_not_block_gets_every_byte(tmp_path: Path) -> None:
    script = (
        "import sys; from batchd.cli.streams import mend_streams; mend_streams(); "
        "sys.stdout.write('x' * 1_000_000)"
    )
    env = clean_environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-c", script], stdout=writing, env=env) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as ours:
            assert ours.read() == b"x" * 1_000_000
        assert process.wait(timeout=60) == 0
