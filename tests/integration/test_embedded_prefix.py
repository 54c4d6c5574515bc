"""A real model in the embedded engine: what requests begin with alike is read once, by the engine's count.

SUMMARY
    Their sizes are those of `tests/prefixes`.

DIAGNOSTICS
    None: tests.
"""

from pathlib import Path

import pytest

from tests.house import LivingDaemon, embedded_daemon
from tests.prefixes import GROUPS, LINES, SLOTS, WAIT_S, costs, written

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60 + 2 * WAIT_S)]


def living(folder: Path, gguf: Path) -> LivingDaemon:
    return embedded_daemon(folder, gguf, SLOTS, BATCHD_LLAMACPP__CACHE_RAM_MIB="0")


def run(daemon: LivingDaemon, batch: Path) -> Path:
    result = daemon.result(daemon.submit(batch, {"pilot": 0}), WAIT_S)
    assert daemon.stop() == 0
    return result


@pytest.mark.parametrize("is_pasted", [False, True], ids=["system message", "pasted into the user's"])
def test_one_beginning_is_read_once(tmp_path: Path, small_model: Path, is_pasted: bool) -> None:
    batch = written(tmp_path / "one.jsonl", 1, is_pasted)
    with living(tmp_path, small_model) as daemon:
        evaluated, ideal, beginning, prompt = costs(run(daemon, batch), batch)
    assert evaluated <= ideal + 2 * beginning
    if LINES >= 400:
        assert evaluated < 0.05 * prompt


def test_several_beginnings_in_disorder_are_read_once_each(tmp_path: Path, small_model: Path) -> None:
    batch = written(tmp_path / "several.jsonl", GROUPS)
    with living(tmp_path, small_model) as daemon:
        evaluated, ideal, _, _ = costs(run(daemon, batch), batch)
    assert evaluated <= 1.15 * ideal


def test_a_killed_daemon_reads_the_beginning_once_more_at_most(tmp_path: Path, small_model: Path) -> None:
    batch = written(tmp_path / "one.jsonl", 1)
    with living(tmp_path, small_model) as daemon:
        batch_id = daemon.submit(batch, {"pilot": 0})
        partial = daemon.spool / "partial" / f"{batch_id}.jsonl"
        daemon.wait_until(
            lambda: partial.exists() and partial.read_bytes().count(b"\n") > LINES // 3, "answers", WAIT_S
        )
        daemon.kill()
        daemon.start()
        result = daemon.result(batch_id, WAIT_S)
        assert daemon.stop() == 0
        evaluated, ideal, beginning, _ = costs(result, batch)
    assert evaluated <= ideal + 3 * beginning
