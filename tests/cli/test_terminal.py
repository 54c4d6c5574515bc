"""The terminal: colours only for a person, and nothing from a stranger that drives it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.cli.terminal import put, put_json, put_table, say

SCRIPT = "import sys; from batchd.cli.terminal import put; put('text', style=sys.argv[1])"
ROOT = Path(__file__).parents[2]


def on_a_terminal(style: str, **environ: str) -> bytes:
    """What the script writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, style],
            stdout=theirs,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **environ},
            timeout=30,
            check=True,
        )
        return os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


def test_there_is_colour_on_a_terminal() -> None:
    assert b"\x1b[1m" in on_a_terminal("bold")


def test_no_color_takes_the_colours_away() -> None:
    assert b"\x1b[31" in on_a_terminal("red")
    assert b"\x1b[31" not in on_a_terminal("red", NO_COLOR="1")


def test_there_is_no_escape_on_a_dumb_terminal() -> None:
    assert on_a_terminal("red", TERM="dumb") == b"text\r\n"


def test_there_is_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    put("bold", style="bold")
    say("red", style="red")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("bold\n", "red\n")


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    put("[bold]a\x1b[2Jb\nc :smile:")
    put_table(("[red]name",), [("x\x1b[31m\ny",)])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == r"[bold]a\x1b[2Jb\x0ac :smile:"
    assert "[red]name" in out
    assert r"x\x1b[31m\x0ay" in out


def test_nothing_is_folded_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 3_000
    put(long)
    put_table(("a", "b"), [(long, long)])
    assert [len(line.rstrip()) for line in capsys.readouterr().out.splitlines()] == [3_000, 3_003, 6_002]


def test_json_is_one_line_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    put_json({"a": "\x1b\u2028é"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"a": "\x1b\u2028é"}


def test_json_drives_no_terminal_and_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x9b2J\u202egnp\x7f\u2066\x85\ufeff"
    put_json({text: text})
    out = capsys.readouterr().out
    assert out.rstrip("\n").isascii()
    assert json.loads(out) == {text: text}
