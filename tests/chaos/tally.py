"""What a test of blows did, in numbers that can be summed over runs with different seeds.

SUMMARY
    with tally("power cuts", seed, world.books): ...

    adds a line to the file that BATCHD_TEST_TALLY names, if it names one, also when the block fails.

    The block counts in the books while it goes: a test that ends in the middle of its blows has struck those
    that it struck. What it found lost or doubled stands there as well.

DIAGNOSTICS
    None of its own. A block that fails counts as one `failed`, and its error goes on.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@dataclass
class Books:
    """What one block did and saw.

    lost         requests without an outcome, or acknowledged answers that are gone
    doubled      outcomes beyond the first
    recomputed   answers that were durable and were asked for again all the same
    early_claims files that were taken before their writer had finished
    """

    blows: int = 0
    requests: int = 0
    lost: int = 0
    doubled: int = 0
    recomputed: int = 0
    early_claims: int = 0


@contextmanager
def tally(kind: str, seed: int, books: Books) -> Iterator[Books]:
    failed = 1
    try:
        yield books
        failed = 0
    finally:
        line = json.dumps({"kind": kind, "seed": seed, **asdict(books), "failed": failed})
        print(line)
        if path := os.environ.get("BATCHD_TEST_TALLY"):
            with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123  # appended to by several processes
                file.write(line + "\n")
