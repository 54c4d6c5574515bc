"""Another client of the same Ollama loads its model in the middle of a batch."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.batches import write_batch
from tests.house import clean_environment, read_lines
from tests.simulator.child import ChildSimulator

LINES = 40

#: A hang would be noticed after this long.
TIMEOUT_S = 1


def test_another_clients_model_is_waited_for_and_nobody_is_charged(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES, system="You are terse.")
    with ChildSimulator(delay_s=0.2) as server:
        environment = clean_environment(
            tmp_path,
            OLLAMA_HOST=server.address,
            BATCHD_REQUEST_TIMEOUT_S=str(TIMEOUT_S),
            BATCHD_LOG_LEVEL="INFO",
        )
        with subprocess.Popen(
            [sys.executable, "-m", "batchd", "run", str(batch), "--json"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until = time.perf_counter() + 30
            while server.counts()["answers"] < 3 and time.perf_counter() < until:
                time.sleep(0.02)
            _ask(server, "gemma3:270m", answer_s=6 * TIMEOUT_S)
            out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error[-3_000:]
    result = Path(json.loads(out)["path"])
    assert len(read_lines(result / "output.jsonl")) == LINES
    metrics = json.loads((result / "metrics.json").read_text())
    displaced = [item for item in metrics["decisions"] if item["name"] == "model_displaced"]
    assert [(item["old"], item["new"]) for item in displaced] == [("smollm2:135m", "gemma3:270m")]
    assert {item["name"] for item in metrics["decisions"]} == {"model_loaded", "model_displaced"}
    assert set(metrics["faults"]) == {"network", "tokens_of_killed_attempts"}
    assert "model not ready: The model 'gemma3:270m' of another client has taken the memory" in error
    assert metrics["provenance"]["models"][-1]["slots"] == 1


def _ask(server: ChildSimulator, model: str, answer_s: float) -> None:
    """It is answered late, and its model goes a moment after that."""
    server.poison("Take your time.", f"late {answer_s}")
    message = {"role": "user", "content": "Take your time."}
    body = {"model": model, "messages": [message], "stream": False}
    httpx.post(
        f"{server.address}/api/chat", json={**body, "keep_alive": "500ms"}, timeout=30, trust_env=False
    ).raise_for_status()
