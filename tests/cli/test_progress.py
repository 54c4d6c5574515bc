"""Progress for a person: what the words say, when plain lines come, and the bar on a terminal."""

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from batchd.cli.progress import _Bars, _Lines, fetch_display, progress_display, rates, waiting
from batchd.core.status import BatchStatus, ModelStatus, StatusReport
from tests.batches import write_batch
from tests.house import BESIDE_OTHERS, ROOT
from tests.simulator.child import ChildSimulator


def report(completed: int, failed: int = 0) -> StatusReport:
    batch = BatchStatus(
        "b", "packages.jsonl", "in_progress", 100, completed, failed, 2.0, 4_000.0, 0.97, 45.0
    )
    return StatusReport(written_at=0.0, pid=1, state="ready", batches=(batch,))


def test_the_words_leave_out_what_is_not_known() -> None:
    known = report(10).batches[0]
    assert rates(known) == "2.0 requests/s · 4,000 tokens/s · 97.0% cached · 45 s left"
    assert rates(BatchStatus("b", "n", "in_progress", 1, 0, 0)) == ""


def test_an_estimate_is_said_to_be_one() -> None:
    assert "about 97.0% cached" in rates(replace(report(10).batches[0], is_cached_estimated=True))


def test_plain_lines_come_now_and_then_and_at_each_new_batch(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display() as show:
        show(report(10))
        show(report(11))
        show(StatusReport(written_at=0.0, pid=1, state="ready"))
    assert capsys.readouterr().err.splitlines() == [
        f"packages.jsonl: 10 of 100 done, 0 failed · {rates(report(10).batches[0])}"
    ]


def stuck(state: str, detail: str = "", next_try_at: float | None = None) -> StatusReport:
    model = ModelStatus("ollama", "there", state, detail=detail, next_try_at=next_try_at)
    return replace(report(10), model=model, written_at=100.0)


def test_a_model_that_is_not_there_is_told_with_its_reason_and_the_next_try() -> None:
    assert waiting(stuck("resident", "by attach")) == ""
    assert waiting(stuck("absent")) == ""
    assert waiting(stuck("loading", "m")) == "model loading: m"
    assert waiting(stuck("cooling", "refused.", 112.0)) == "model cooling: refused; next try in 12 s"
    assert waiting(stuck("cooling", "\x1b[2J" + "x" * 500)).endswith("xxx…")
    assert "\x1b" not in waiting(stuck("cooling", "\x1b[2J"))


def test_plain_lines_say_why_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 1.0, 6.0, 12.0, 37.0, 43.0])
    lines = _Lines(lambda: 1_000.0 + next(moments))
    lines.show(report(10))
    lines.show(stuck("cooling", "refused", 103.0))  # too soon after the line before
    lines.show(stuck("cooling", "refused", 108.0))
    lines.show(stuck("cooling", "refused", 108.0))  # nothing new
    lines.show(stuck("loading", "m"))
    lines.show(report(11))
    told_lines = [line.partition(" · ")[2] for line in capsys.readouterr().err.splitlines()]
    known = rates(report(10).batches[0])
    assert told_lines == [
        known,
        "model cooling: refused; next try in 8 s",
        "model loading: m",
        known,
    ]


def test_a_bar_that_stands_still_has_the_reason_below_it() -> None:
    with _Bars() as bars:
        bars.show(report(10))
        assert len(list(bars._screen.get_renderables())) == 1
        bars.show(stuck("cooling", "refused", 112.0))
        *_, last = bars._screen.get_renderables()
    assert str(last) == "model cooling: refused; next try in 12 s"


def test_nothing_is_drawn_of_a_fetch_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with fetch_display() as show:
        show(1, 2)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_standard_output_only_the_path(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 30, system="You are terse.")
    screen, terminal = pty.openpty()
    with (
        ChildSimulator(delay_s=0.1) as server,
        subprocess.Popen(
            [sys.executable, "-m", "batchd", "run", str(batch)],
            cwd=tmp_path,
            env={
                "PYTHONPATH": str(ROOT),
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                "OLLAMA_HOST": server.address,
                **BESIDE_OTHERS,
                "TERM": "xterm",
                "COLUMNS": "140",
            },
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
        ) as process,
    ):
        os.close(terminal)
        drawn = b""
        while piece := _read(screen):
            drawn += piece
        out, _ = process.communicate(timeout=60)
    os.close(screen)
    assert process.returncode == 0
    assert len(out.splitlines()) == 1
    text = drawn.decode()
    assert "packages.jsonl" in text
    assert "30/30" in text
    assert "requests/s" in text


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65_536)
    except OSError:  # the other side has closed the terminal
        return b""
