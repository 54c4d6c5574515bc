"""Limits and places that the machine refuses are named; a bug stays a bug."""

import errno
import os
from pathlib import Path

import pytest

from batchd.cli.refused import refused
from batchd.errors import UsageError
from tests.batches import write_batch
from tests.cli.test_source import shell
from tests.simulator.child import ChildSimulator


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EMFILE, "Too many open files", "a\nb"),
            r"ulimit -n, LimitNOFILE= of a unit) ('a\nb')",
        ),
        (MemoryError(), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "No space left on device ('x')"),
        (
            OSError(errno.EIO, "Input/output error", "x"),
            "The disk reports an error: Input/output error ('x')",
        ),
        (ExceptionGroup("tasks", [ValueError("x"), ExceptionGroup("more", [MemoryError()])]), "ulimit -v"),
    ],
)
def test_what_the_machine_refuses_is_named_with_what_raises_it(error: Exception, said: str) -> None:
    found = refused(error)
    assert found is not None
    assert said in found.message
    assert found.next_step
    assert found.exit_code == 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), OSError(errno.ENOENT, "x"), OSError("x")]
)
def test_anything_else_is_a_bug(error: Exception) -> None:
    assert refused(error) is None


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    write_batch(tmp_path / "a.jsonl", 1)
    done = shell(tmp_path, "mkdir gone; cd gone; rmdir ../gone; batchd run ../a.jsonl; exit $?")
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (
        UsageError.exit_code,
        ["batchd: The current directory is gone.", "Change to one that is there (cd)."],
    )


@pytest.mark.parametrize(("limit", "said"), [("-n 24", "ulimit -n"), ("-f 64", "ulimit -f")])
def test_a_run_under_a_limit_names_it_and_goes_on_when_it_is_raised(
    tmp_path: Path, limit: str, said: str
) -> None:
    write_batch(tmp_path / "a.jsonl", 3)
    with ChildSimulator() as server:
        done = shell(tmp_path, f"ulimit {limit}; batchd run a.jsonl", OLLAMA_HOST=server.address)
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        assert "bug" not in done.stderr
        again = shell(tmp_path, "batchd run a.jsonl", OLLAMA_HOST=server.address)
    assert again.returncode == 0, again.stderr


def test_no_directory_for_temporary_files_is_no_trouble_for_who_needs_none(tmp_path: Path) -> None:
    """Nothing can be written: Python finds no place for temporary files, and says so when it is asked."""
    write_batch(tmp_path / "a.jsonl", 1)
    done = shell(tmp_path, "ulimit -f 0; batchd check a.jsonl | cat; exit ${PIPESTATUS[0]}")
    assert done.returncode == 0, done.stderr


def test_a_name_that_leaves_no_room_for_that_of_its_options_has_none(tmp_path: Path) -> None:
    name = "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len(".jsonl")) + ".jsonl"
    write_batch(tmp_path / name, 1)
    assert shell(tmp_path, f"batchd check {name}").returncode == 0
