"""A real model in the embedded engine: too little memory, kills and hangs; the batch completes by itself.

SUMMARY
    BATCHD_TEST_CHILD_KILLS, BATCHD_TEST_CHILD_STOPS    how often the child is killed and stopped (20 and 5
                                                        are a batch of 300); a hang is noticed after 30 s

DIAGNOSTICS
    None: tests.
"""

import json
import os
import signal
from pathlib import Path
from random import Random

import pytest

from tests.batches import request_line, write_batch
from tests.blows import LINES_EACH, descendants, named, struck, well_done
from tests.house import ROOT, LivingDaemon, embedded_daemon

KILLS = int(os.environ.get("BATCHD_TEST_CHILD_KILLS", "2"))
STOPS = int(os.environ.get("BATCHD_TEST_CHILD_STOPS", "0"))
BLOWS = KILLS + STOPS

#: What one answer of 16 tokens, one load after a death, and one hang may take on a busy machine.
WAIT_S = 60.0 + 45.0 * KILLS + 150.0 * STOPS

#: With the window that the large bound asks for, the cells of 8 slots take 1.5 GB, those of 4 half of it,
#: and everything else half a gigabyte.
ADDRESS_SPACE_BYTES = 1_600_000_000
LARGE_BOUND = 7_900

#: An answer that ends by itself, whatever its bound.
SHORT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": {"type": "string", "enum": ["yes", "no"]}},
    }
}

#: Each Python of the daemon runs this before anything else; only the model's child is limited.
LIMITED = """\
import resource, sys
if any("llamacpp_child" in word for word in sys.orig_argv):
    resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
"""

#: Until speeds are known, who is silent for so long hangs: longer than an honest answer on a busy machine.
HANG_S = "45"

pytestmark = pytest.mark.embedded


def living(folder: Path, gguf: Path, slots: int, **more: str) -> LivingDaemon:
    return embedded_daemon(folder, gguf, slots, BATCHD_LLAMACPP__THREADS="1", **more)


def limited(folder: Path) -> str:
    """A module path that begins with the limit."""
    (folder / "limit").mkdir()
    (folder / "limit" / "sitecustomize.py").write_text(LIMITED.format(limit=ADDRESS_SPACE_BYTES))
    return f"{folder / 'limit'}:{ROOT}"


def test_where_eight_slots_do_not_fit_the_batch_shrinks_and_completes(
    tmp_path: Path, small_model: Path
) -> None:
    batch = tmp_path / "few.jsonl"
    lines = [request_line(number, max_tokens=LARGE_BOUND, system="Judge.") for number in range(16)]
    batch.write_text("".join(json.dumps(line | {"body": line["body"] | SHORT}) + "\n" for line in lines))
    with living(tmp_path, small_model, 8, PYTHONPATH=limited(tmp_path)) as daemon:
        result = daemon.result(daemon.submit(batch))
        daemon.stop()
    decisions = [one for one in well_done(daemon, batch, result) if one["name"] != "model_loaded"]
    assert [(one["name"], one["old"], one["new"]) for one in decisions[:1]] == [("slots_halved", "8", "4")]
    assert "failed to allocate" in decisions[0]["evidence"]


@pytest.mark.timeout(60 + WAIT_S)
def test_kills_and_hangs_of_the_child_lose_nothing_and_double_nothing(
    tmp_path: Path, small_model: Path
) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES_EACH * BLOWS, system="Describe this package.")
    blows = [signal.SIGKILL] * KILLS + [signal.SIGSTOP] * STOPS
    Random(BLOWS).shuffle(blows)
    with living(tmp_path, small_model, 4, BATCHD_REQUEST_TIMEOUT_S=HANG_S) as daemon:

        def child() -> int | None:
            return next(iter(named(descendants(daemon.pid), "llamacpp_child")), None)

        batch_id = daemon.submit(batch)
        struck(daemon, blows, child, WAIT_S)
        result = daemon.result(batch_id, WAIT_S)
        daemon.stop()
    found = well_done(daemon, batch, result)
    log = daemon.log_path.read_text()
    assert log.count("model server lost: crash (the llama.cpp server is gone: ended by SIGKILL") == KILLS
    assert log.count("model server lost: timeout") == STOPS
    assert sum(one["name"] == "model_loaded" for one in found) > BLOWS
