"""What a test of blows did, in numbers that can be summed over runs with different seeds.

SUMMARY
    with tally("power cuts", seed, world.books): ...

    adds a line to LINES, and to the file that BATCHD_TEST_TALLY names, if it names one, also when the block
    fails. The block counts in the books while it goes: a test that ends in the middle has struck what it
    struck. What it found lost or doubled stands there as well. `table` sums lines up for people.

DIAGNOSTICS
    None of its own. A block that fails counts as one `failed`, and its error goes on.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields


@dataclass
class Books:
    """What one block did and saw.

    lost          requests without an outcome, or acknowledged answers that are gone
    doubled       outcomes beyond the first
    recomputed    answers that were durable and were asked for again all the same
    early_claims  files that were taken before their writer had finished
    ended         daemons that ended by themselves, where a kind allows none to; else None: nobody counts
    """

    blows: int = 0
    requests: int = 0
    lost: int = 0
    doubled: int = 0
    recomputed: int = 0
    early_claims: int = 0
    ended: int | None = None


COLUMNS = (*(field.name for field in fields(Books)), "failed")

#: Of this process, in the order of their ends.
LINES: list[Mapping[str, object]] = []


@contextmanager
def tally(kind: str, seed: int, books: Books) -> Iterator[Books]:
    failed = 1
    try:
        yield books
        failed = 0
    finally:
        line = {"kind": kind, "seed": seed, **asdict(books), "failed": failed}
        print(json.dumps(line))
        LINES.append(line)
        if path := os.environ.get("BATCHD_TEST_TALLY"):
            with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123  # appended to by several processes
                file.write(json.dumps(line) + "\n")


def sums(lines: Iterable[Mapping[str, object]]) -> dict[str, dict[str, int]]:
    """Of each kind, in the order of their first lines; what was not counted is not there."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        numbers = found.setdefault(str(line["kind"]), {})
        for name in COLUMNS:
            count = line.get(name)
            if count is not None:
                assert isinstance(count, int)
                numbers[name] = numbers.get(name, 0) + count
    return found


def table(lines: Iterable[Mapping[str, object]]) -> str:
    """One row for each kind of blow; a dash for what was not counted."""
    rows = [("kind of blow", *(name.replace("_", " ") for name in COLUMNS))]
    for kind, numbers in sums(lines).items():
        rows.append((kind, *(f"{numbers[name]:,}" if name in numbers else "-" for name in COLUMNS)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )
