"""The lock of a card: two never have it, and whoever comes second hears who was first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.edges.card_lock import Holder, held, hold, holders
from batchd.errors import ConfigError, UnavailableError
from tests.house import ROOT

SPOOL = Path("/srv/spool of mine")


def refused(directory: Path, *cards: str) -> str:
    with pytest.raises(UnavailableError) as raised:
        hold(directory, cards, SPOOL)
    assert "batchd submit --wait" in raised.value.next_step
    assert "BATCHD_SHARE_CARD" in raised.value.next_step
    return raised.value.message


def test_a_card_is_held_once_and_the_second_is_told_by_whom(tmp_path: Path) -> None:
    lock = hold(tmp_path, ["GPU-1"], SPOOL)
    said = refused(tmp_path, "GPU-1")
    assert said.startswith(f"The card GPU-1 is in the hands of another batchd (process {os.getpid()}, ")
    assert "spool /srv/spool of mine, user " in said
    lock.close()
    again = hold(tmp_path, ["GPU-1"], SPOOL)
    assert repr(again) == "CardLock(GPU-1)"
    again.close()


def test_two_cards_of_one_machine_are_two_locks(tmp_path: Path) -> None:
    with held(hold(tmp_path, ["GPU-1"], SPOOL)), held(hold(tmp_path, ["GPU-2"], SPOOL)):
        assert "GPU-2" in refused(tmp_path, "GPU-3", "GPU-2")
        with held(hold(tmp_path, ["GPU-3"], SPOOL)):  # which the one that was refused had not kept
            assert [holder.card for holder in holders(tmp_path)] == ["GPU-1", "GPU-2", "GPU-3", "machine"]
    assert holders(tmp_path) == []


def test_who_sees_no_card_meets_who_sees_one(tmp_path: Path) -> None:
    """A sandbox hides the cards from the service; its neighbour on the command line sees them."""
    with held(hold(tmp_path, [], SPOOL)):
        assert refused(tmp_path, "GPU-1").startswith("The model servers of this machine are in the hands")
        refused(tmp_path)
    with held(hold(tmp_path, ["GPU-1"], SPOOL)):
        refused(tmp_path)


def test_a_death_gives_the_lock_back(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from batchd.edges.card_lock import hold; "
        "lock = hold(Path(sys.argv[1]), [], Path('x')); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert f"process {other.pid}" in refused(tmp_path)
        assert [holder.pid for holder in holders(tmp_path)] == [other.pid]
        other.kill()
    hold(tmp_path, [], SPOOL).close()


def test_what_others_wrote_into_the_file_is_shown_harmlessly(tmp_path: Path) -> None:
    with held(hold(tmp_path, [], SPOOL)):
        (tmp_path / "batchd-machine.lock").write_bytes(b"12x\n\x1b[31mred\xff\n")
        said = refused(tmp_path)
        assert "process unknown" in said
        assert "\x1b" not in said
        (tmp_path / "batchd-GPU-9.lock").symlink_to("/etc/passwd")
        (tmp_path / "somebody.lock").touch()
        assert [holder.card for holder in holders(tmp_path)] == ["machine"]


def test_a_file_is_for_all_users_whatever_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        hold(tmp_path, [], SPOOL).close()
    finally:
        os.umask(before)
    assert (tmp_path / "batchd-machine.lock").stat().st_mode & 0o777 == 0o666
    (tmp_path / "batchd-machine.lock").chmod(0o444)
    hold(tmp_path, [], SPOOL).close()


def test_a_directory_that_is_none_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lock of the card"):
        hold(tmp_path / "gone", [], SPOOL)
    (tmp_path / "batchd-machine.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="lock of the card"):
        hold(tmp_path, [], SPOOL)
    assert holders(tmp_path / "gone") == []
    assert Holder("machine", 0, "", "").words() == "process unknown, spool unknown, user unknown"
