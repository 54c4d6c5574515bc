"""Controls: what people ask of a batch by a file in control/.

SUMMARY
    A control file is a state, not a message: it stays until what it asks for is durable, and is looked at
    again every second until then, so that neither a crash nor a batch that is not claimed yet loses it. Each
    batch in the house is asked about by name, so that a flood of other files costs nothing.

        cancel    stays until the batch is published
        pause     stays until the journal says so
        resume    likewise; of `pause` and `resume` the younger one counts

    `expire` removes those that came too late, and those whose batch never came.

DIAGNOSTICS
    Fatal: SpoolError.
    Warning: a control that is dropped without effect.
"""

from loguru import logger

from batchd.daemon.ports import Clock, Spool

CANCEL, PAUSE, RESUME = "cancel", "pause", "resume"

#: A batch may wait in the inbox for days behind others; its controls wait with it.
UNKNOWN_AGE_S = 7 * 86_400.0


class Controls:
    """Reads and removes control files."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock

    def is_cancelled(self, batch_id: str) -> bool:
        """Whether somebody asks for it now."""
        return self._spool.control_at(batch_id, CANCEL) is not None

    def wish(self, batch_id: str) -> str:
        """PAUSE, RESUME or nothing; the older of the two is out of date and goes."""
        pause_at = self._spool.control_at(batch_id, PAUSE)
        resume_at = self._spool.control_at(batch_id, RESUME)
        if pause_at is None or resume_at is None:
            return PAUSE if pause_at is not None else RESUME if resume_at is not None else ""
        # In the same tick of the file system's clock: nobody is harmed by a batch that waits.
        younger, older = (PAUSE, RESUME) if pause_at >= resume_at else (RESUME, PAUSE)
        self._spool.remove_control(batch_id, older)
        return younger

    def done(self, batch_id: str, verb: str) -> None:
        """It is durable."""
        if self._spool.remove_control(batch_id, verb):
            logger.bind(event="control_done", batch_id=batch_id).info("{}: {} is done with", batch_id, verb)

    def close(self, batch_id: str) -> None:
        """The batch is published: whatever was asked of it took effect, or came too late."""
        for verb in (CANCEL, PAUSE, RESUME):
            self.done(batch_id, verb)

    def expire(self) -> None:
        """Drop what can have no effect any more. Blocking."""
        for batch_id, verb, age_s in self._spool.controls(self._clock.now()):
            is_known = self._spool.is_known(batch_id)
            # In this order: a batch that is claimed between the two questions is at work.
            if self._spool.is_at_work(batch_id):
                continue
            if is_known:
                reason = "the batch is finished"
            elif age_s > UNKNOWN_AGE_S:
                reason = "no such batch came within a week"
            else:
                continue
            if self._spool.remove_control(batch_id, verb):
                logger.bind(event="control_dropped", batch_id=batch_id).warning(
                    "{}: {} is dropped: {}", batch_id, verb, reason
                )
