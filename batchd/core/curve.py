"""Curve: how many answers came when, in a bounded number of points.

SUMMARY
    Answers are counted in steps of equal length from the first one on. When the batch outlasts the points,
    two neighbours become one and a step lasts twice as long: a night is told as exactly as an hour, in as
    little room.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass

#: Enough for a curve.
POINTS_MAX = 120

#: The length of a step at first.
FIRST_STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Answers in each step from `started_at` (seconds since the epoch)."""

    started_at: float = 0.0
    step_s: float = FIRST_STEP_S
    answers: tuple[int, ...] = ()

    def with_answer(self, at: float) -> "Curve":
        """One more, at this time. A clock that was set back counts for the first step."""
        if not self.answers:
            return Curve(at, self.step_s, (1,))
        step_s, answers = self.step_s, list(self.answers)
        while (point := max(0, int((at - self.started_at) / step_s))) >= POINTS_MAX:
            answers = [sum(answers[place : place + 2]) for place in range(0, len(answers), 2)]
            step_s *= 2
        answers.extend([0] * (point + 1 - len(answers)))
        answers[point] += 1
        return Curve(self.started_at, step_s, tuple(answers))
