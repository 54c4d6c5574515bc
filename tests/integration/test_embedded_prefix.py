"""A real model in the embedded engine: what requests begin with alike is read once, by the engine's count.

SUMMARY
    BATCHD_TEST_PREFIX_LINES     lines of each batch; 400 of one group and 96 of eight are the real sizes
    BATCHD_TEST_PREFIX_CHARS     of the shared rubric; unset, a piece of it; 0, all of it: 2,000 tokens

DIAGNOSTICS
    None: tests.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.batches import request_line, rubric
from tests.house import LivingDaemon, embedded_daemon, read_lines

LINES = int(os.environ.get("BATCHD_TEST_PREFIX_LINES", "9"))
CHARS = int(os.environ.get("BATCHD_TEST_PREFIX_CHARS", "900"))
SLOTS = 4
GROUPS = 8 if LINES >= 96 else 4

#: A cold prefill of the whole rubric takes half a minute on a core that is shared, each answer some seconds.
WAIT_S = 120.0 + 60.0 * GROUPS * (CHARS == 0) + 5.0 * LINES

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60 + 2 * WAIT_S)]


def living(folder: Path, gguf: Path) -> LivingDaemon:
    return embedded_daemon(folder, gguf, SLOTS, BATCHD_LLAMACPP__CACHE_RAM_MIB="0")


def text() -> str:
    return rubric()[: CHARS or None]


def written(path: Path, groups: int, is_pasted: bool = False) -> Path:
    """A batch file: some large groups and many small ones, in a random order; each has its own rubric.

    `is_pasted`: there is no system message; the rubric stands in the user's, before the data.
    """
    chance = Random(groups)
    dealt = chance.choices(range(groups), [1 / (number + 1) for number in range(groups)], k=LINES - groups)
    dealt += range(groups)
    chance.shuffle(dealt)
    with path.open("w", encoding="utf-8") as file:
        for number, group in enumerate(dealt):
            line: dict[str, Any] = request_line(number, max_tokens=8, group=group, system=text())
            if is_pasted:
                system, user = line["body"]["messages"]
                user["content"] = f"{system['content']}\n\n{user['content']}"
                line["body"]["messages"] = [user]
            file.write(json.dumps(line) + "\n")
    return path


def run(daemon: LivingDaemon, batch: Path) -> Path:
    result = daemon.result(daemon.submit(batch, {"pilot": 0}), WAIT_S)
    assert daemon.stop() == 0
    return result


def costs(result: Path, batch: Path) -> tuple[int, int, int, int]:
    """(evaluated, ideal, the longest beginning, all prompt tokens), counted from the engine's own numbers."""
    group_of = {
        line["custom_id"]: json.dumps(line["body"]["messages"])[: CHARS or len(rubric())]
        for line in (json.loads(raw) for raw in batch.read_bytes().splitlines())
    }
    prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lines: list[Any] = read_lines(result / "output.jsonl")
    assert len(lines) == LINES
    for line in lines:
        usage = line["response"]["body"]["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        prompts[group_of[line["custom_id"]]].append((usage["prompt_tokens"], cached))
    ideal, longest = 0, 0
    for answers in prompts.values():
        # Of a request right behind another of its group, all is cached but that in which the two differ.
        warm = [cached for prompt, cached in answers if cached > prompt / 2]
        shared = min(warm, default=0)
        ideal += sum(prompt for prompt, _ in answers) - (len(answers) - 1) * shared
        longest = max(longest, shared)
    tokens = json.loads((result / "metrics.json").read_text())["tokens"]
    evaluated = tokens["evaluated"]["value"]
    prompt = sum(prompt for answers in prompts.values() for prompt, _ in answers)
    print(f"evaluated {evaluated:,}, prompt {prompt:,}, ideal {ideal:,} (said {tokens['ideal']['value']:,})")
    print(f"cached {1 - evaluated / prompt:.2%}; {evaluated / ideal:.3f} of the ideal")
    return evaluated, ideal, longest, prompt


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
