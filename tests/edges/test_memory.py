"""Memory, as the kernel counts it.

DIAGNOSTICS
    None: tests.
"""

from pathlib import Path

from batchd.edges.memory import resident_bytes


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
