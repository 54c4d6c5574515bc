"""Controls: what people ask of a batch by a file in control/.

SUMMARY
    A control file is a state, not a message: it stays until what it asks for is durable, and is looked at
    again every second until then, so that neither a crash nor a batch that is not claimed yet loses it. Each
    batch in the house is asked about by name, so that a flood of other files costs nothing.

    A file is removed when its batch is published; `expire` removes those that came too late, and those whose
    batch never came.

DIAGNOSTICS
    Fatal: SpoolError.
    Warning: a control that is dropped without effect.
"""

from loguru import logger

from batchd.daemon.ports import Clock, Spool

CANCEL = "cancel"

#: A batch may wait in the inbox for days behind others; its cancellation waits with it.
UNKNOWN_AGE_S = 7 * 86_400.0


class Controls:
    """Reads and removes control files."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock

    def is_cancelled(self, batch_id: str) -> bool:
        """Whether somebody asks for it now."""
        return self._spool.has_control(batch_id, CANCEL)

    def close(self, batch_id: str) -> None:
        """The batch is published: whatever was asked of it took effect, or came too late."""
        if self._spool.remove_control(batch_id, CANCEL):
            logger.bind(event="control_done", batch_id=batch_id).info(
                "{}: its cancellation is done with", batch_id
            )

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
