"""Neighbours: who is found by the words of a command line, and who is not."""

import os
from pathlib import Path

import pytest

from batchd.core.doctor.place import Neighbour
from batchd.edges.neighbours import neighbours


def proc_with(root: Path, *commands: tuple[str, ...]) -> Path:
    for number, words in enumerate(commands, start=100):
        (root / str(number)).mkdir()
        (root / str(number) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    return root


@pytest.mark.parametrize(
    ("command", "kind", "name"),
    [
        (
            ("/opt/batchd/.venv/bin/python", "/opt/batchd/.venv/bin/batchd", "daemon"),
            "batchd",
            "batchd daemon",
        ),
        (("python3", "-m", "batchd", "run", "a.jsonl"), "batchd", "batchd run"),
        (("/usr/local/bin/batchd", "daemon", "--spool", "x"), "batchd", "batchd daemon"),
        (("/usr/local/bin/ollama", "serve"), "ollama", "ollama serve"),
    ],
)
def test_programs_that_load_models_are_found(
    tmp_path: Path, command: tuple[str, ...], kind: str, name: str
) -> None:
    assert neighbours(proc_with(tmp_path, command)) == [Neighbour(100, kind, name)]


def test_others_are_not(tmp_path: Path) -> None:
    proc_with(
        tmp_path,
        ("batchd", "status"),
        ("ollama", "run", "serve"),
        ("grep", "batchd", "daemon.log"),
        ("daemon",),
        (),
    )
    (tmp_path / str(os.getpid())).mkdir()
    (tmp_path / str(os.getpid()) / "cmdline").write_bytes(b"batchd\0daemon\0")
    (tmp_path / "200").mkdir()  # hidden, or gone
    assert neighbours(tmp_path) == []
    assert neighbours(tmp_path / "absent") == []
