"""Collector: how often Python looks for circles of garbage.

SUMMARY
    What is loaded at the start stays, so it is not looked through again; and a look comes after some thousand
    new objects, not after some hundred. A line of a batch makes dozens of them that no circle holds: with the
    settings that Python begins with, a sixth of the time of an intake goes into looking (measured).

DIAGNOSTICS
    None.
"""

import gc

#: New objects between two looks: a few megabytes of garbage at most. The second and third number: how many
#: looks at the young come before one at the older.
THRESHOLDS = (20_000, 50, 100)


def calm_collector() -> None:
    """Once, when all is loaded."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
