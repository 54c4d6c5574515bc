"""The same batch through a real Ollama and through the embedded engine: same shapes, same counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.batches import write_batch
from tests.house import clean_environment, read_lines

pytestmark = [pytest.mark.live, pytest.mark.embedded, pytest.mark.timeout(900)]

LINES = int(os.environ.get("BATCHD_TEST_LIVE_LINES", "20"))


def shape(value: object) -> object:
    """Keys and types, without the values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if not key.startswith("cached_tokens")}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def run(folder: Path, batch: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "run", str(batch), "--json", "--out", arguments[0], *arguments[1:]],
        cwd=folder,
        env=clean_environment(folder, **environment),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_ollama_and_llamacpp_give_the_same_shapes_and_counts(
    tmp_path: Path, live_ollama: str, small_model: Path
) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES)
    by_ollama = run(tmp_path, batch, "ollama", OLLAMA_HOST=live_ollama, BATCHD_OLLAMA__MODE="attach")
    by_llamacpp = run(tmp_path, batch, "llamacpp", "--gguf", str(small_model), BATCHD_SLOTS="1")
    counts = {"total": LINES, "completed": LINES, "failed": 0}
    assert by_ollama["request_counts"] == by_llamacpp["request_counts"] == counts
    first, second = (read_lines(Path(found["path"]) / "output.jsonl") for found in (by_ollama, by_llamacpp))
    assert [line["custom_id"] for line in first] == [line["custom_id"] for line in second]
    assert [shape(line) for line in first] == [shape(line) for line in second]
    for found in (by_ollama, by_llamacpp):
        assert sorted(path.name for path in Path(found["path"]).iterdir()) == [
            "batch.json",
            "metrics.json",
            "output.jsonl",
            "report.html",
        ]
    print(json.dumps({"ollama": by_ollama["tokens"], "llamacpp": by_llamacpp["tokens"]}))
