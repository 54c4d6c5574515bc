"""`batchd bench`: what is refused, and what is shown."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchd.cli import call
from tests.house import clean_environment
from tests.simulator.child import ChildSimulator

SMALL = [
    "--lines",
    "2,3",
    "--rounds",
    "1",
    "--groups",
    "2",
    "--prompt-tokens",
    "30",
    "--cases",
    "prefix,bare",
]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lines", "10,x"], "'10,x' are no numbers of lines"),
        (["--lines", "0"], "no numbers of lines"),
        (["--cases", "prefix,fast"], "There is no case 'fast'"),
        (["--report", "absent/x.html"], "There is no directory absent"),
        (["--engine", "x"], "There is no engine 'x'"),
    ],
)
def test_what_is_typed_wrongly_is_said(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_a_model_the_next_step_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["bench"]) == 78
    assert "--model smollm2:135m" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_table_pictures_and_projection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHD_OLLAMA__MODE", "attach")
    report = tmp_path / "bench.html"
    with ChildSimulator(slots=2) as server:
        monkeypatch.setenv("BATCHD_OLLAMA__HOST", server.address)
        assert call(["bench", "--model", "smollm2:135m", *SMALL, "--report", str(report)]) == 0
    told = capsys.readouterr()
    heads = next(line for line in told.out.splitlines() if line.startswith("case "))
    assert heads.split()[:3] == ["case", "lines", "requests/s"]
    assert "A projection to 170,000 lines" in told.out
    assert "will take about" in told.err
    assert told.out.splitlines()[-1] == str(report)
    assert report.read_text(encoding="utf-8").count("<svg") == 2


def test_json_has_the_machine_and_every_run(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("BATCHD_OLLAMA__MODE", "attach")
    with ChildSimulator(slots=2) as server:
        monkeypatch.setenv("BATCHD_OLLAMA__HOST", server.address)
        words = ["--lines", "2", "--rounds", "1", "--cases", "bare", "--prompt-tokens", "30", "--json"]
        assert call(["bench", "--model", "smollm2:135m", *words]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert told["machine"]["cores"] >= 1
    assert [ran["case"] for ran in told["runs"]] == ["bare"]
    assert told["projection"][0]["lines"] == 170_000


@pytest.mark.timeout(600)  # eight daemons, one after the other, on a machine that may be busy
def test_overhead_has_every_row_and_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "table.html"
    assert call(["bench", "--overhead", "--lines", "40", "--rounds", "1", "--report", str(report)]) == 0
    told = capsys.readouterr()
    assert "against an instant server: about" in told.err
    lines = told.out.splitlines()
    assert lines[0].split() == ["what", "on", "lines", "measured", "bar", "verdict"]
    assert sum("instant server" in line for line in lines) == 9
    assert sum("needs --engine" in line for line in lines) == 3
    assert "instant server" in report.read_text(encoding="utf-8")


@pytest.mark.timeout(180)
def test_asked_to_end_it_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "batchd", "bench", "--overhead", "--lines", "300"]
    environment = clean_environment(tmp_path, TMPDIR=str(tmp_path))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        try:
            until = time.perf_counter() + 100
            while not (children := list(tmp_path.glob("batchd-bench-*/*/spool/status.json"))):
                assert time.perf_counter() < until
                time.sleep(0.05)
            daemon = int(json.loads(children[0].read_bytes())["pid"])
            process.terminate()
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert list(tmp_path.glob("batchd-bench-*")) == []
    assert not Path(f"/proc/{daemon}").exists()
