"""Bad workloads: what a batch can be, and a template can do, to have nothing read only once.

SUMMARY
    A whole daemon beside a simulated Ollama that reports cached tokens. Counts are of the simulator, and
    are compared with each other only.

DIAGNOSTICS
    None: tests.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from batchd.cli import call
from tests.batches import request_line
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

#: Reports cached tokens for each answer.
VERSION = "0.33.3"

#: A beginning of some 500 tokens of the simulator.
LONG = "Judge each record by the rules. " * 60


class Outcome:
    """What became of a batch of these lines."""

    def __init__(self, root: Path, lines: list[dict[str, object]], strategy: str = "prefix", **more: object):
        root.mkdir(exist_ok=True)
        batch = root / "packages.jsonl"
        batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
        settings: dict[str, Any] = {"slots": 2, "version": VERSION, "prefill_rate": 1e6, "decode_rate": 1e5}
        with (
            ChildSimulator(root / "seen.jsonl", **{**settings, **more}) as server,
            LivingDaemon(root / "spool", BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="2") as daemon,
        ):
            result = daemon.result(daemon.submit(batch, {"strategy": strategy}))
            self.log = daemon.log_path.read_text()
        self.metrics: dict[str, Any] = json.loads((result / "metrics.json").read_text())
        self.answered = [line["custom_id"] for line in read_lines(result / "output.jsonl")]

    def tokens(self, name: str) -> int:
        return int(self.metrics["tokens"][name]["value"])


def test_a_template_that_puts_a_date_first_is_said_with_the_measured_share(tmp_path: Path) -> None:
    lines = [request_line(number, system=LONG) for number in range(40)]
    found = Outcome(tmp_path, lines, dated=1)
    assert len(found.answered) == 40
    assert found.metrics["tokens"]["saved_share"]["source"] == "engine"
    assert found.metrics["tokens"]["saved_share"]["value"] < 0.02
    assert found.log.count("nothing is reused") == 1
    [note] = [note for note in found.metrics["notes"] if "read again for each request" in note]
    assert "the model server does not keep the beginning" in note.lower()
    assert [one["name"] for one in found.metrics["decisions"]].count("no_reuse") == 1


def test_a_group_of_one_is_a_batch_like_any_other(tmp_path: Path) -> None:
    found = Outcome(tmp_path, [request_line(0, system=LONG)])
    assert found.answered == ["package-0"]
    assert found.metrics["groups"]["count"] == 1
    assert found.tokens("ideal") == found.tokens("prompt") == found.tokens("naive")


@pytest.mark.parametrize("groups", [8])
def test_a_file_that_is_sorted_against_us_costs_what_a_sorted_one_costs(tmp_path: Path, groups: int) -> None:
    ill = [request_line(n, system=f"Image {n % groups}. {LONG}") for n in range(6 * groups)]
    kind = sorted(ill, key=lambda line: str(line["body"]))
    against, sorted_for_us = Outcome(tmp_path / "ill", ill), Outcome(tmp_path / "kind", kind)
    naive = Outcome(tmp_path / "naive", ill, "naive")
    assert against.tokens("cold_prefills") <= groups + 2
    assert against.tokens("evaluated") <= 1.1 * sorted_for_us.tokens("evaluated")
    assert naive.tokens("cold_prefills") > 4 * against.tokens("cold_prefills")
    assert naive.metrics["settings"]["strategy"] == "naive"
    assert against.answered == naive.answered


def test_two_models_in_turn_are_two_loads_under_every_strategy(tmp_path: Path) -> None:
    models = ("smollm2:135m", "gemma3:270m")
    lines = [request_line(n, models[n % 2], system="You are terse.") for n in range(30)]
    for strategy in ("prefix", "naive", "conversation"):
        found = Outcome(tmp_path / strategy, lines, strategy)
        assert len(found.answered) == 30
        assert found.metrics["time"]["loads"] == 2, strategy


def test_a_hundred_thousand_groups_of_one_are_looked_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = tmp_path / "alone.jsonl"
    with batch.open("w") as file:
        for n in range(100_000):
            messages = [{"role": "user", "content": f"{n:05} is a number. Say more of it."}]
            body = {"model": "m", "messages": messages}
            line = {"custom_id": f"{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    began = time.perf_counter()
    assert call(["check", "--json", str(batch)]) == 0
    print(f"{time.perf_counter() - began:.1f} s for 100,000 requests that share nothing")
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert told["total"] == 100_000
    assert (told["group_count"], told["saved_tokens_estimated"]) == (1, 0)
