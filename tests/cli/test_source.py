"""Batch files of the command line: pipes are spooled first, devices and foreign files are refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.cli import call
from batchd.cli.source import refuse_foreign, sources
from batchd.errors import SpoolError, UsageError
from batchd.settings import Settings, load_settings
from tests.batches import write_batch
from tests.foreign_files import FOREIGN, GOOD
from tests.house import clean_environment
from tests.simulator.child import ChildSimulator


def settings(**flags: object) -> Settings:
    return load_settings(dict(flags), environ={})


def shell(folder: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`command` in bash; `batchd` in it is ours."""
    ours = f"{sys.executable} -m batchd"
    return subprocess.run(
        ["bash", "-c", command.replace("batchd ", f"{ours} ")],
        cwd=folder,
        env=clean_environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_file_is_taken_as_it_lies(tmp_path: Path) -> None:
    file = write_batch(tmp_path / "a.jsonl", 2)
    with sources([file], settings()) as found:
        assert [(source.given, source.path) for source in found] == [(file, file)]


@pytest.mark.parametrize("given", ["<(cat a.jsonl)", "/dev/stdin", "-"])
def test_what_can_be_read_once_is_checked_as_a_file_is(tmp_path: Path, given: str) -> None:
    write_batch(tmp_path / "a.jsonl", 20, system="Answer with one word, and nothing else than that.")
    as_file = shell(tmp_path, "batchd check --json a.jsonl")
    piped = shell(tmp_path, f"cat a.jsonl | batchd check --json {given}", TMPDIR=str(tmp_path))
    assert (piped.returncode, piped.stderr) == (0, "")
    assert {**json.loads(piped.stdout), "file": ""} == {**json.loads(as_file.stdout), "file": ""}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("batchd-")] == []


def test_a_run_of_a_pipe_is_the_batch_of_that_content(tmp_path: Path) -> None:
    write_batch(tmp_path / "a.jsonl", 3)
    with ChildSimulator() as server:
        ran = shell(tmp_path, "batchd run <(cat a.jsonl)", OLLAMA_HOST=server.address)
        again = shell(tmp_path, "cat a.jsonl | batchd run -", OLLAMA_HOST=server.address)
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.strip()).name.startswith("stdin.batch_")
    assert again.stdout == ran.stdout


def test_submit_takes_a_pipe(tmp_path: Path) -> None:
    write_batch(tmp_path / "a.jsonl", 3)
    (tmp_path / "spool/inbox").mkdir(parents=True)
    done = shell(tmp_path, "cat a.jsonl | batchd submit - --spool spool")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "spool/inbox/stdin.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("batchd check - <&-", "closed"),
        ("batchd run - </dev/null", "closed"),
        ("batchd submit /dev/zero", "device"),
        ("batchd check - - <a.jsonl", "twice"),
        ("head -c 1100000 /dev/zero | BATCHD_INPUT_BYTES_MAX=1048576 batchd check -", "input_bytes_max"),
        ("batchd run .", "s a directory"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_exit_2(tmp_path: Path, command: str, said: str) -> None:
    write_batch(tmp_path / "a.jsonl", 3)
    done = shell(tmp_path, command)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "bug" not in done.stderr


def test_a_pipe_that_nobody_has_room_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "named.jsonl"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDWR)
    try:
        os.write(keeper, GOOD)
        monkeypatch.setattr("tempfile.tempdir", "/dev/full")
        with pytest.raises(SpoolError, match="cannot be kept") as caught, sources([fifo], settings()):
            pass
        assert "TMPDIR" in caught.value.next_step
    finally:
        os.close(keeper)


@pytest.mark.parametrize("verb", ["check", "run", "submit"])
def test_a_file_of_the_wrong_type_is_one_sentence_for_each_verb(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(FOREIGN["UTF-16, as PowerShell writes it"][0])
    (tmp_path / "spool/inbox").mkdir(parents=True)
    spool = [] if verb == "check" else ["--spool", str(tmp_path / "spool")]
    code = call([verb, str(file), *spool])
    told = capsys.readouterr()
    assert code == (1 if verb == "check" else 2)
    [sentence] = [line for line in (told.out + told.err).splitlines() if "UTF-16" in line]
    assert f"{file}: The file is UTF-16" in sentence
    assert "iconv -f UTF-16 -t UTF-8" in sentence
    assert list((tmp_path / "spool/inbox").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, tool in {
            "UTF-16, as PowerShell writes it": "iconv",
            "UTF-16, the other way round": "iconv",
            "UTF-16LE without its mark": "iconv",
            "UTF-16BE without its mark": "iconv",
            "UTF-32": "iconv",
            "UTF-32BE without its mark": "iconv",
            "Latin-1": "iconv",
            "gzip": "gunzip",
            "bzip2": "bzip2",
            "xz": "xz",
            "zip": "unzip",
            "an array": "jq",
            "an indented array": "jq",
            "indented objects": "jq",
            "objects without line ends": "jq",
            "line ends of old Macs": "tr",
            "a text sequence": "tr",
            "repr": "python3",
            "bodies": "jq",
            "text": "jq",
        }.items()
        if shutil.which(tool)  # no skips: which tools there are is the machine's affair
    ],
)
def test_the_command_of_the_sentence_mends_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "FILE").write_bytes(FOREIGN[name][0])
    with sources([tmp_path / "FILE"], settings()) as [source], pytest.raises(UsageError) as caught:
        refuse_foreign(source, settings())
    command = caught.value.message.split("`")[1].replace("MODEL", "m")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    mended = (tmp_path / "NEW.jsonl").read_bytes()
    if name in ("text", "bodies"):
        assert call(["check", str(tmp_path / "NEW.jsonl")]) == 0
    else:
        expected = [json.loads(line) for line in GOOD.splitlines()]
        assert [json.loads(line) for line in mended.splitlines()] == expected
