"""A directory that somebody else prepared, or may write, is not taken for our own.

DIAGNOSTICS
    None: tests.
"""

import contextlib
import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.edges.spool import Spool, private, submit_file
from batchd.edges.spool.private import opened_own
from batchd.errors import ConfigError
from tests.fakes.users import ALICE, MALLORY, acting_as, needs_root

ID = f"batch_{1:032x}"


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def place() -> Iterator[Path]:
    """As /tmp is: everybody's, and sticky."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o1777)
        yield path


@needs_root
def test_a_directory_of_another_user_is_refused_whatever_its_mode(place: Path) -> None:
    with acting_as(MALLORY):
        (place / "out").mkdir()
        (place / "out").chmod(0o755)
    for user in (0, ALICE):
        with acting_as(user), pytest.raises(ConfigError, match="belongs to another user") as refused:
            opened_own(place / "out", 0o755)
        assert "--out" in refused.value.next_step


@needs_root
def test_a_link_that_another_user_made_is_refused_and_ones_own_is_followed(place: Path) -> None:
    with acting_as(ALICE):
        (place / "hers").mkdir(mode=0o700)
        (place / "link").symlink_to(place / "hers")
        os.close(opened_own(place / "link", 0o755))
    with acting_as(MALLORY):
        (place / "trap").symlink_to(place / "hers")
    with acting_as(ALICE), pytest.raises(ConfigError, match="is a link that user"):
        opened_own(place / "trap", 0o755)
    assert list((place / "hers").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757, 0o775])
def test_a_directory_that_others_may_write_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "_is_of_one", lambda group: False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(mode)
    with pytest.raises(ConfigError, match="written by other users") as refused:
        opened_own(tmp_path / "out", 0o755)
    assert f"chmod go-w {tmp_path}/out" in refused.value.next_step
    (tmp_path / "out").chmod(mode & ~0o022)
    os.close(opened_own(tmp_path / "out", 0o755))


def test_a_group_that_has_nobody_else_in_it_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o775)
    monkeypatch.setattr(private, "_is_of_one", lambda group: group == (tmp_path / "out").stat().st_gid)
    os.close(opened_own(tmp_path / "out", 0o755))
    (tmp_path / "out").chmod(0o777)
    with pytest.raises(ConfigError):
        opened_own(tmp_path / "out", 0o755)


@pytest.mark.parametrize(
    ("user", "group", "members", "is_of_one"),
    [
        ("ann", "ann", [], True),
        ("ann", "ann", ["ann"], True),
        ("ann", "ann", ["ben"], False),
        ("ann", "users", [], False),
        ("ann", None, [], False),
    ],
)
def test_whose_group_it_is(
    monkeypatch: pytest.MonkeyPatch, user: str, group: str | None, members: list[str], is_of_one: bool
) -> None:
    def found(number: int) -> object:
        if group is None:
            raise KeyError(number)
        return type("Group", (), {"gr_name": group, "gr_mem": members})

    monkeypatch.setattr(pwd, "getpwuid", lambda number: type("User", (), {"pw_name": user}))
    monkeypatch.setattr(grp, "getgrgid", found)
    assert private._is_of_one(5) is is_of_one


@needs_root
@pytest.mark.parametrize("planted", ["spool", "spool/inbox"])
def test_a_spool_that_another_user_prepared_is_refused(place: Path, planted: str) -> None:
    with acting_as(MALLORY), umask(0):
        (place / planted).mkdir(mode=0o777, parents=True)
    with acting_as(ALICE), pytest.raises(ConfigError, match="in the name of batchd"):
        Spool.open(place / "spool")


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_whatever_the_umask_a_persons_spool_and_results_are_for_nobody_else(
    tmp_path: Path, mask: int
) -> None:
    root, out = tmp_path / "above" / "out" / ".spool", tmp_path / "above" / "out"
    source = tmp_path / "a.jsonl"
    source.write_bytes(b"{}\n")
    with umask(mask):
        spool = Spool.open(root, out)
        submit_file(root, source, "a.jsonl", {"batch_id": ID})
        assert spool.claim(b"a.jsonl", ID)
        assert spool.claim_options(b"a.jsonl", ID)
        spool.copy_input(ID)
        spool.append_partial(ID, b"{}\n")
        spool.write_status(b"{}\n")
        spool.begin_publish(ID)
        spool.create_result(ID, "output.jsonl").close()
        spool.publish(ID, f"a.{ID}")
        spool.close()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(out.stat().st_mode) & 0o022 == 0
    assert stat.S_IMODE(out.parent.stat().st_mode) & 0o022 == 0
    result = out / f"a.{ID}"
    assert stat.S_IMODE(result.stat().st_mode) & 0o077 == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"a.jsonl", "status.json", "output.jsonl", "input.jsonl", "lock"}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
