"""A batch on a simulated card of 16 GB, begun with four times the slots that it holds.

SUMMARY
    BATCHD_TEST_CARD_LINES    how many lines; the headline is 5,000

DIAGNOSTICS
    None: a test.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batches import write_batch
from tests.house import clean_environment, read_lines
from tests.simulator.child import write_binary

LINES = int(os.environ.get("BATCHD_TEST_CARD_LINES", "300"))

#: The card, the model's weights, and what one token of one slot takes.
CARD = {"memory_bytes": 16_000_000_000, "gpu_bytes": 16_000_000_000, "weights_bytes": 8_100_000_000}
KV_BYTES = 110_000

#: A guess that nobody's card of this size holds.
GUESS = 64


@pytest.mark.timeout(120 + LINES // 10)
def test_a_wrong_guess_loses_nobody_and_the_log_tells_the_ladder(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES)
    binary = write_binary(tmp_path, **CARD, kv_bytes=KV_BYTES, delay_s=0.05)
    environment = clean_environment(
        tmp_path,
        BATCHD_SLOTS=str(GUESS),
        BATCHD_OLLAMA__MODE="own",
        BATCHD_OLLAMA__BINARY=str(binary),
        BATCHD_LOG_LEVEL="INFO",
    )
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "run", str(batch), "--json", "--out", "results"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110 + LINES // 10,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    assert found["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    result = Path(found["path"])
    assert len({line["custom_id"] for line in read_lines(result / "output.jsonl")}) == LINES
    decisions = json.loads((result / "metrics.json").read_text())["decisions"]
    steps = [decision for decision in decisions if decision["name"].startswith("slots_")]
    assert [(step["name"], step["old"], step["new"]) for step in steps[:2]] == [
        ("slots_halved", "64", "32"),
        ("slots_halved", "32", "16"),
    ]
    assert all("insufficient memory" in step["evidence"] for step in steps[:2])
    for step in steps:
        assert f"{step['name']}: {step['old']} -> {step['new']}, because {step['cause']}" in done.stderr
    print(len(decisions), "decisions;", [(step["name"], step["old"], step["new"]) for step in steps])
