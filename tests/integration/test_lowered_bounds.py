"""A bound copied from a hosted model, above any window here: the whole daemon beside a simulated Ollama.

DIAGNOSTICS
    None: tests.
"""

import json
from pathlib import Path
from typing import Any

from tests.batches import request_line
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

WINDOW = 2_048

#: Of the simulator. What is left beside the long prompt is less, and too little to repeat itself in.
ANSWER_TOKENS = 300

COPIED = 128_000


def line(number: int, bound: int, prompt_tokens: int = 20) -> dict[str, Any]:
    return request_line(number, "gemma3:270m", bound, system="Word" * prompt_tokens)


def test_it_lowers_its_own_bound_and_nothing_else(tmp_path: Path) -> None:
    lines = [*(line(number, 16) for number in range(4)), line(4, COPIED), line(5, COPIED, WINDOW - 140)]
    batch = tmp_path / "copied.jsonl"
    batch.write_text("".join(json.dumps(it) + "\n" for it in lines))
    settings = {"BATCHD_WINDOW_TOKENS_MAX": str(WINDOW), "BATCHD_SLOTS": "2"}
    with (
        ChildSimulator(tmp_path / "seen.jsonl", slots=2, answer_tokens=ANSWER_TOKENS) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address, **settings) as daemon,
    ):
        result = daemon.result(daemon.submit(batch))
        log = daemon.log_path.read_text()
    answered: dict[str, Any] = {
        str(it["custom_id"]): it["response"] for it in read_lines(result / "output.jsonl")
    }
    assert [name for name, told in answered.items() if "lowered_bound" in told] == ["package-4"]
    told = answered["package-4"]
    usage = told["body"]["usage"]
    assert told["lowered_bound"] == WINDOW - usage["prompt_tokens"] < COPIED
    assert usage["completion_tokens"] == ANSWER_TOKENS
    assert told["body"]["choices"][0]["finish_reason"] == "stop"

    refused: Any
    [refused] = read_lines(result / "errors.jsonl")
    error = refused["response"]["body"]["error"]
    assert (refused["custom_id"], error["code"]) == ("package-5", "context_length_exceeded")
    for number in (WINDOW, COPIED):
        assert str(number) in error["message"]
    assert "window_tokens_max" in error["message"]

    metrics = json.loads((result / "metrics.json").read_text())
    assert metrics["answers"]["lowered_bounds"] == 1
    assert [use["window_tokens"] for use in metrics["provenance"]["models"]] == [1_024, WINDOW]
    assert any("bound above the largest window" in note for note in metrics["notes"])
    assert "1 answers had a bound above the largest window" in log
