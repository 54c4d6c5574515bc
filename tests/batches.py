"""Batches of real work for tests: Debian package records, judged by one long rubric.

SUMMARY
    request_line    one request as an object
    write_batch     a batch file of any size; no two requests are equal

DIAGNOSTICS
    None.
"""

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"


@cache
def rubric() -> str:
    """About 2,000 tokens that every request begins with."""
    return (_DATA / "rubric.txt").read_text(encoding="utf-8")


@cache
def _records() -> list[dict[str, str]]:
    with (_DATA / "packages.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def user_text(number: int) -> str:
    """One record, about 50 tokens; the round makes records that repeat different requests."""
    records = _records()
    record = records[number % len(records)]
    return (
        f"Record: {record['package']} - {record['summary']}\nVersion: {record['version']}\n"
        f"Round: {number // len(records)}\nInstalled size: {record['installed_size_kb']} kB"
    )


def request_line(
    number: int, model: str = "smollm2:135m", max_tokens: int = 16, group: int = 0, system: str | None = None
) -> dict[str, Any]:
    """A chat request; `group` gives it another beginning, `system` replaces the rubric."""
    text = rubric() if system is None else system
    start = f"Image {group} of the fleet.\n\n{text}" if group else text
    return {
        "custom_id": f"package-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": model,
            "messages": [
                {"role": "system", "content": start},
                {"role": "user", "content": user_text(number)},
            ],
            "max_completion_tokens": max_tokens,
            "temperature": 0,
        },
    }


def write_batch(
    path: Path, lines: int, max_tokens: int = 16, groups: int = 1, system: str | None = None
) -> Path:
    """A batch file with so many lines; groups take turns."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            line = request_line(number, max_tokens=max_tokens, group=number % groups, system=system)
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return path
