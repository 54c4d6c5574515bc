"""The command line as a whole: help, version, exit codes, and what a person reads when it goes wrong."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd import __version__
from batchd.cli import VERBS, call
from batchd.errors import BatchdError, ConfigError, SpoolError, UnavailableError
from tests.house import clean_environment
from tests.simulator.child import ChildSimulator


def failing(error: BaseException) -> Callable[[], int]:
    def fail() -> int:
        """Fail.

        Example: fail
        """
        raise error

    return fail


def run_failing(error: BaseException) -> int:
    return call(["fail"], (failing(error),))


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_each_verb_has_an_example_of_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example" in out
    assert re.search(rf"batchd {name}\b", out.partition("Example")[2])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_help_lists_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(arguments) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in VERBS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["--version"]) == 0
    assert capsys.readouterr().out == f"batchd {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "'status'"),
        (["status", "--jsonn"], "--json"),
        (["status", "--spool"], "--spool"),
        (["check"], "FILE"),
        (["submit", "a", "b"], "b"),
    ],
)
def test_a_command_typed_wrongly_is_one_sentence_and_a_step(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    sentence, step = told.err.splitlines()
    assert sentence.startswith("batchd: ")
    assert said in sentence
    assert "--help" in step


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 78), (UnavailableError, 75), (SpoolError, 1)])
def test_expected_trouble_is_one_sentence_and_the_next_step(
    kind: type[BatchdError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_failing(kind("It broke.", "Mend it.")) == code
    assert capsys.readouterr().err == "batchd: It broke.\nMend it.\n"


def test_an_interrupted_command_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_an_interrupted_run_says_that_nothing_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batchd.cli.run.load_settings", interrupted)
    assert call(["run", "requests.jsonl"]) == 130
    assert "the same command goes on where it stopped" in capsys.readouterr().err


def test_a_bug_is_one_sentence_and_a_file_with_the_trace(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_failing(ZeroDivisionError("secret")) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    (trace,) = tmp_path.iterdir()
    assert str(trace) in err
    assert "Traceback" in trace.read_text()
    assert oct(trace.stat().st_mode)[-3:] == "600"


def test_a_verb_that_returns_nothing_is_fine() -> None:
    def quiet() -> None:
        """Do nothing.

        Example: quiet
        """

    assert call(["quiet"], (quiet,)) == 0


def test_python_dash_m_is_the_same_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    monkeypatch.setattr("sys.argv", ["batchd", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("batchd", run_name="__main__", alter_sys=False)
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"batchd {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["status", "--spool", ""], ["status", "--spool="], ["run", ""], ["run", "x", "--out="]]
)
def test_an_empty_argument_is_a_variable_that_is_not_set_and_never_the_current_directory(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(arguments) == 2
    assert "is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_all_verbs_is_told_in_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert call([]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert listed.count("\n") >= len(VERBS)
    assert "..." not in listed


@pytest.mark.parametrize("host", ["-é", "box:port", "http://box:99999", "a\udcff"])
def test_a_host_of_ollama_that_is_no_address_is_one_sentence(host: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "status"],
        env=clean_environment(tmp_path, OLLAMA_HOST=host),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "is not an address" in done.stderr
    assert "Traceback" not in done.stderr


LINE = (
    '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":'
    '{"model":"smollm2:135m","messages":[{"role":"user","content":"hi"}],"max_tokens":8}}\n'
)


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "http://proxy:port"])
def test_a_proxy_of_the_shell_breaks_no_verb_and_is_not_asked_for_this_machine(
    value: str, tmp_path: Path
) -> None:
    def ask(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        proxies = {
            "ALL_PROXY": value,
            "http_proxy": value,
            "HTTPS_PROXY": value,
            "NO_PROXY": "[::1],10.0.0.0/8",
        }
        return subprocess.run(
            [sys.executable, "-m", "batchd", *arguments],
            env=clean_environment(tmp_path, **proxies, **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    path = tmp_path / "in.jsonl"
    path.write_text(LINE)
    checked = ask("check", str(path), OLLAMA_HOST="http://box.example:11434")
    assert checked.returncode == 0, checked.stderr
    with ChildSimulator() as server:
        # As many write it who have an address of OpenAI's in mind.
        done = ask("run", str(path), "--out", str(tmp_path / "out"), OLLAMA_HOST=f"{server.address}/v1")
    assert done.returncode == 0, done.stderr
    if "port" in value:  # by the other one, an attached server is waited for
        far = ask("run", str(path), OLLAMA_HOST="http://box.example:11434")
        assert far.returncode == 78
        assert "http_proxy is 'http://proxy:port'" in far.stderr
        assert "Traceback" not in far.stderr


def test_only_the_verb_that_was_asked_for_is_loaded(tmp_path: Path) -> None:
    asked = (
        "import sys; from batchd.cli import call; call(['config', '--help']); "
        "loaded = {name for name in sys.modules if name.startswith('batchd.')}; "
        "assert 'batchd.cli.config' in loaded; "
        "assert not loaded & {'batchd.cli.daemon', 'batchd.app', 'batchd.tools'}, sorted(loaded)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
