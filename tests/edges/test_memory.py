"""Memory, as the kernel counts it.

DIAGNOSTICS
    None: tests.
"""

import os
import subprocess
import sys
from pathlib import Path

from batchd.edges.memory import family, family_bytes, machine_bytes, named, resident_bytes


def test_this_process_takes_more_when_it_holds_more() -> None:
    before = resident_bytes()
    held = bytearray(b"x") * (64 * 2**20)
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before >= 32 * 2**20
    del held


def test_the_kernels_text_is_read_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nVmRSS:\t 9 kB\nRssAnon:\t   1500 kB\n")
    assert resident_bytes(tmp_path) == 1500 * 1024


def test_what_a_sandbox_hides_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\n")
    assert resident_bytes(tmp_path) is None


class Processes:
    """A /proc with a family: 1 -> 10 -> 11, and 12 of another program with a strange name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add(1, "init", 0, 100)
        self.add(10, "ollama", 1, 200)
        self.add(11, "llama-server", 10, 300)
        self.add(12, "a) S 10 (b", 1, 400)
        (root / "cpuinfo").write_text("")
        (root / "13").mkdir()  # it ended while we looked

    def add(self, pid: int, name: str, parent: int, size_kb: int) -> None:
        place = self.root / str(pid)
        place.mkdir()
        (place / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
        (place / "status").write_text(f"Name:\t{name}\nVmRSS:\t {size_kb} kB\n")


def test_a_family_is_all_that_came_of_a_process(tmp_path: Path) -> None:
    proc = Processes(tmp_path).root
    assert family({10}, proc) == {10, 11}
    assert family({1}, proc) == {1, 10, 11, 12}
    assert family({99}, proc) == {99}
    assert named("ollama", proc) == {10}
    assert named("a) S 10 (b", proc) == {12}
    assert family_bytes({10, 11, 99}, proc) == 500 * 1024
    assert family_bytes({99}, proc) is None


def test_a_long_name_is_found_by_what_the_kernel_keeps_of_it(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.add(20, "systemd-inhibit"[:15], 1, 1)
    assert named("systemd-inhibitor", processes.root) == {20}


def test_no_proc_is_no_process(tmp_path: Path) -> None:
    assert named("ollama", tmp_path / "absent") == set()
    assert machine_bytes(tmp_path) == (None, None)


def test_the_machine_has_more_than_it_can_give() -> None:
    total, free = machine_bytes()
    assert total is not None
    assert free is not None
    assert 0 < free < total


def test_our_own_children_are_found(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in family({os.getpid()})
        assert (family_bytes({child.pid}) or 0) > 0
    finally:
        child.communicate(b"\n", timeout=30)
