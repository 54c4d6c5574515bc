"""Piloting: a large batch begins with a few lines, and waits for a person where they are no good.

SUMMARY
    `wanted` says which lines; the desk has them worked on; `conclude` measures them, tells the journal, and
    says why the batch shall pause, if it shall. A pilot is made once: its findings are kept.

DIAGNOSTICS
    Warning: a pilot that pauses its batch, said by the status.
"""

from batchd.app.judging import Judging
from batchd.core.pause import Cause, Pause
from batchd.core.pilot import FROM_LINES, PILOT, Findings, conclude, findings_of, pilot_lines
from batchd.core.record import Event
from batchd.core.strategy import Strategy
from batchd.core.summary import Acceptance, from_meta
from batchd.daemon.ports import Clock, Journal
from batchd.edges import log


class Piloting:
    """The pilot of one batch. `lines_default` is the operator's."""

    def __init__(
        self, batch_id: str, journal: Journal, clock: Clock, judging: Judging, lines_default: int
    ) -> None:
        self._batch_id = batch_id
        self._journal = journal
        self._clock = clock
        self._judging = judging
        self._lines_default = lines_default
        self._lines = self._groups = 1
        self._acceptance: Acceptance | None = None
        self.findings: Findings | None = None

    def __repr__(self) -> str:
        return f"<Piloting of {self._batch_id}: {self.findings}>"

    def wanted(self) -> list[int]:
        """The lines to begin with; none where there is nothing to find out any more. Blocking."""
        meta = self._journal.meta()
        self._acceptance = acceptance = from_meta(meta)
        self.findings = findings_of(meta)
        count = self._count(acceptance)
        answered = self._journal.progress().completed
        # One that was begun and not concluded is made anew; a batch that was well under way needs none.
        if not count or self.findings is not None or answered > 2 * count:
            return []
        plan = self._journal.plan()
        self._lines, self._groups = len(plan.order), len(plan.groups)  # copies cost nothing
        is_in_order = acceptance.strategy is Strategy.CONVERSATION
        return pilot_lines(plan, self._journal.finished(), count, is_in_order)

    def _count(self, acceptance: Acceptance) -> int:
        lines, asked = acceptance.total - acceptance.faulty, acceptance.options.pilot
        if asked is None:
            return self._lines_default if lines > FROM_LINES else 0
        return asked if lines > asked else 0

    def conclude(self, failed: int, slots: int) -> Pause | None:
        """The lines have their outcomes; `failed` of them for good. Why the batch shall pause, or None."""
        assert self._acceptance is not None
        samples, self._judging.samples = self._judging.samples or [], None
        # An answer that was rejected is a sample, and a failure.
        failed -= self._judging.rejected_samples
        found = self.findings = conclude(samples, failed, self._lines, self._groups, slots)
        now = self._clock.now()
        self._journal.note(PILOT, found.to_meta())
        self._journal.log_event(Event(now, "pilot", "", "bad" if found.is_bad else "good", found.words()))
        text = f"{self._batch_id} {found.words()}"
        log.note("WARNING" if found.is_bad else "INFO", "pilot", text, batch_id=self._batch_id)
        if found.is_bad:
            reason = f"{found.bad} of the first {found.answers} answers are bad: {found.flaw_words()}"
            return Pause(Cause.PILOT, reason, now)
        if self._acceptance.options.pilot_confirm:
            return Pause(Cause.PILOT, f"a person shall look at the first {found.answers} answers", now)
        return None
