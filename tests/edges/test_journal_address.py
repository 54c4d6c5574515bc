"""A journal under a limit of the address space: a smaller map that grows, or the limit by its name."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.edges.journal import Journal
from batchd.edges.journal.address import MAP_BYTES, larger, map_bytes
from tests.house import clean_environment

ROOT = Path(__file__).parents[2]

#: The limit counts for a whole process, so each of these has one of its own.
SCRIPT = """
import json, os, resource, sys
from array import array
from batchd.core.record import LineRow, NewLine, Plan
from batchd.edges.journal import Journal, address
from batchd.errors import JournalError

path, above, floor, share, lines, size = json.loads(sys.argv[1])
address._MAP_BYTES_MIN, address._SHARE = floor, share
limit = address._used_bytes() + above
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    journal = Journal.create(path)
    first = journal._environment._map_bytes
    for index in range(lines):
        journal.add_lines([NewLine(index, LineRow(index, 1, 0, 0, index + 1), os.urandom(size))])
    journal.accept(Plan(lines, (), array("I")), {})
    journal.close()
    journal = Journal.open(path)
    print(json.dumps([first, journal._environment._map_bytes, journal.progress().total]))
except JournalError as error:
    print(json.dumps([error.message, error.next_step]))
"""


def under_a_limit(
    folder: Path, above: int, floor: int = 1 << 20, share: float = 1 / 8, lines: int = 3, size: int = 0
) -> list[object]:
    asked = json.dumps([str(folder / "journal"), above, floor, share, lines, size])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, asked],
        env=clean_environment(folder, PYTHONPATH=str(ROOT)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_without_a_limit_the_map_is_as_large_as_ever(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert map_bytes(tmp_path / "absent") == MAP_BYTES
    assert larger(MAP_BYTES) is None


def test_under_a_limit_the_map_is_a_part_of_what_is_left(tmp_path: Path) -> None:
    first, last, total = under_a_limit(tmp_path, 4 << 30)
    assert isinstance(first, int)
    assert (3 << 30) / 8 < first <= (4 << 30) / 8
    assert total == 3
    assert isinstance(last, int)
    assert (3 << 30) / 8 < last <= first


def test_a_full_map_grows_and_nothing_is_lost(tmp_path: Path) -> None:
    first, last, total = under_a_limit(tmp_path, 512 << 20, share=1 / 256, lines=60, size=100_000)
    assert isinstance(first, int)
    assert isinstance(last, int)
    assert first <= 2 << 20
    assert last > 2 * first
    assert total == 60
    journal = Journal.open(str(tmp_path / "journal"))
    assert journal.progress().total == 60
    journal.close()


@pytest.mark.parametrize(
    ("above", "floor", "lines"), [(40 << 20, 64 << 20, 1), (96 << 20, 1 << 20, 2_000)], ids=["begun", "full"]
)
def test_where_none_fits_the_limit_is_named_with_what_would_be_enough(
    tmp_path: Path, above: int, floor: int, lines: int
) -> None:
    message, next_step = under_a_limit(tmp_path, above, floor, lines=lines, size=100_000)
    assert "limited to" in str(message)
    assert "(ulimit -v)" in str(message)
    assert "ulimit -v unlimited" in str(next_step)
    assert "Nothing is lost" in str(next_step)
