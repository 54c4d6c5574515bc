"""Tempo: counts answers into cohorts, and knows when the last one came.

SUMMARY
    A cohort is as many answers in a row as the chunk holds; the governor judges by them. `is_full` is false
    for one in which a slot had nothing to do: its speed says nothing about the chunk.

DIAGNOSTICS
    None: numbers in, values out. Time is an argument.
"""

from batchd.core.course import Cohort
from batchd.core.model import Usage

#: A server that gave an answer within this time, and within half of another one's limit, is not hung.
QUIET_S = 30.0


class Tempo:
    """The answers of one load, since `begin`."""

    def __init__(self) -> None:
        self._slots = 1
        self._began = 0.0
        self._answers = 0
        self._tokens = 0
        self._is_full = True
        self._answered_at: float | None = None

    def __repr__(self) -> str:
        return f"Tempo({self._answers} of {self._slots} answers, {self._tokens} tokens)"

    def begin(self, slots: int, now: float) -> None:
        """The lanes start, so many of them."""
        self._slots, self._answered_at = max(1, slots), None
        self._reset(now)

    def idle(self) -> None:
        """A slot found nothing to do."""
        self._is_full = False

    def answered(self, usage: Usage, now: float) -> Cohort | None:
        """One more; the cohort that it completes. An embedding is measured by what was read."""
        self._answered_at = now
        self._answers += 1
        self._tokens += usage.completion_tokens or usage.prompt_tokens
        if self._answers < self._slots:
            return None
        cohort = Cohort(self._answers, self._tokens, now - self._began, self._is_full, now)
        self._reset(now)
        return cohort

    def is_quiet(self, now: float, limit_s: float) -> bool:
        """Whether the server may hang when an answer took longer than its limit: no other came of late."""
        return self._answered_at is None or now - self._answered_at >= min(QUIET_S, limit_s / 2)

    def _reset(self, now: float) -> None:
        self._began, self._answers, self._tokens, self._is_full = now, 0, 0, True
