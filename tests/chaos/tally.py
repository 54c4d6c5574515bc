"""What a test of blows did, in numbers that can be summed over runs with different seeds.

SUMMARY
    tally("power cuts", blows=40, seed=7, requests=2300)   prints it, and adds a line to the file that
    BATCHD_TEST_TALLY names, if it names one

DIAGNOSTICS
    None.
"""

import json
import os

#: Of each kind of blow. `recomputed`: answers that were durable and were asked for again all the same.
COLUMNS = ("blows", "requests", "lost", "doubled", "recomputed", "early_claims")


def tally(kind: str, blows: int, seed: int, **numbers: int) -> None:
    line = {
        "kind": kind,
        "seed": seed,
        "blows": blows,
        **{name: numbers.get(name, 0) for name in COLUMNS[1:]},
    }
    print(json.dumps(line))
    path = os.environ.get("BATCHD_TEST_TALLY")
    if path:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123  # appended to by several processes
            file.write(json.dumps(line) + "\n")
