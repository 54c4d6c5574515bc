"""Scope: how much the table of what must be fast is measured with.

SUMMARY
    Scope      the defaults are over within minutes
    FULL       the whole table, up to a million lines
    seconds    about how long it will take

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: The daemon is killed when it has so many answers more, as a share of the lines.
KILL_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is measured. The defaults are over within minutes; `FULL` is the whole table."""

    rounds: int = 3
    requests: int = 2_000
    intake_lines: int = 10_000
    short_lines: int = 50_000
    unshared_lines: int = 10_000
    sizes: Sequence[int] = (10_000,)
    kills: int = 3

    def within(self, sizes: Sequence[int], rounds: int) -> "Scope":
        """Nothing has more lines than the largest of these sizes."""
        most = max(sizes)
        return Scope(
            rounds=rounds,
            requests=min(self.requests, most),
            intake_lines=min(self.intake_lines, most),
            short_lines=min(self.short_lines, most),
            unshared_lines=min(self.unshared_lines, most),
            sizes=tuple(sizes),
            kills=min(self.kills, rounds),
        )


#: A million lines are short ones: what is held of a line does not hang on its length.
FULL = Scope(7, 4_000, 170_000, 1_000_000, 170_000, (10_000, 170_000, 1_000_000), 3)
LONG_LINES_MAX = 200_000

#: The file is copied and read each time: often enough for a median.
INTAKES_MAX = 3


def seconds(scope: Scope) -> float:
    """About how long it will take, on a machine that answers a few hundred requests a second."""
    pairs_s = scope.rounds * (4 * scope.requests / 500 + 8)
    lines = sum(scope.sizes) + scope.unshared_lines + max(long_sizes(scope)) * KILL_SHARE * (scope.kills + 1)
    intake_s = min(scope.rounds, INTAKES_MAX) * (scope.intake_lines / 8_000 + scope.short_lines / 20_000)
    return pairs_s + 2 * intake_s + lines / 400


def long_sizes(scope: Scope) -> list[int]:
    """Those that are measured with lines as long as the headline's; [0] for none."""
    return [size for size in scope.sizes if size <= LONG_LINES_MAX] or [0]
