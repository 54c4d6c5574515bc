"""Requests that begin alike, and what it cost to read them, by the engine's own count.

SUMMARY
    written   a batch file of LINES lines with so many different beginnings
    costs     evaluated, ideal, the longest beginning, all prompt tokens

    BATCHD_TEST_PREFIX_LINES     lines of each batch; 400 of one group and 96 of eight are the real sizes
    BATCHD_TEST_PREFIX_CHARS     of the shared rubric; unset, a piece of it; 0, all of it: 2,000 tokens

DIAGNOSTICS
    AssertionError: not every line was answered.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

from tests.batches import request_line, rubric
from tests.house import read_lines

LINES = int(os.environ.get("BATCHD_TEST_PREFIX_LINES", "9"))
CHARS = int(os.environ.get("BATCHD_TEST_PREFIX_CHARS", "900"))
SLOTS = 4
GROUPS = 8 if LINES >= 96 else 4

#: A cold prefill of the whole rubric takes half a minute on a core that is shared, each answer some seconds.
WAIT_S = 120.0 + 60.0 * GROUPS * (CHARS == 0) + 5.0 * LINES


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
