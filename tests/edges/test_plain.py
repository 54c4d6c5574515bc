"""A small file that somebody else may have put there.

DIAGNOSTICS
    None: tests.
"""

import os
from pathlib import Path

import pytest

from batchd.edges.plain import read_head, read_plain


def test_a_plain_file_is_read_within_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_plain(tmp_path / "a", 5) == b"12345"
    assert read_head(tmp_path / "a", 3) == b"123"
    with pytest.raises(OSError, match="larger than"):
        read_plain(tmp_path / "a", 4)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "absent", 4)


def test_ten_gigabytes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 10 << 30)
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_plain(tmp_path / "a", 1 << 20)


def test_nothing_waits_for_a_pipe_and_no_link_is_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "link", "directory"):
        with pytest.raises(OSError, match=r"plain file|symbolic links|directory"):
            read_plain(tmp_path / name, 100)
    with pytest.raises(OSError, match="plain file"):
        read_plain(Path("/dev/zero"), 100)
