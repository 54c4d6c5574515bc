"""Recovery: after a start, bring every directory in `processing/` back onto its way.

SUMMARY
    Reads each journal's phase, lets `core/reconcile` list the repairs, and runs those that need no model:
    claims that did not happen are removed, finished publications are finished. What must be taken in or
    worked on is returned, furthest state first. Requests that were in flight when the daemon died are simply
    pending again and are not charged: the daemon's death says nothing about them.

DIAGNOSTICS
    Fatal: UnknownStateError for a directory that no state describes; JournalError for a journal that cannot
    be opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loguru import logger

from batchd.core.lifecycle import Phase
from batchd.core.reconcile import Action, Repair, actions
from batchd.daemon.ports import Journal, Spool


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left to do: batches to take in again, batches to work on, batches to publish."""

    intake: Sequence[str]
    work: Sequence[str]
    publish: Sequence[str]


def recover(spool: Spool, open_journal: Callable[[str], Journal]) -> Recovered:
    """Run the repairs. `open_journal` opens by path; journals are closed again here. Blocking."""
    places = spool.places()
    phases: dict[str, Phase | None] = {}
    for batch_id, place in places.items():
        if place.has_journal:
            phases[batch_id] = _phase(open_journal, spool.journal_path(batch_id))
    todo = actions(places, phases)
    for action in todo:
        _run(spool, action)
    return Recovered(
        intake=[action.batch_id for action in todo if action.repair is Repair.INTAKE],
        work=[action.batch_id for action in todo if action.repair is Repair.WORK],
        publish=[action.batch_id for action in todo if action.repair is Repair.PUBLISH],
    )


def _phase(open_journal: Callable[[str], Journal], path: str) -> Phase | None:
    """None where intake did not end. One that cannot be opened may hold answers: a person decides."""
    journal = open_journal(path)
    try:
        return journal.phase()
    finally:
        journal.close()


def _run(spool: Spool, action: Action) -> None:
    logger.info("recovery: {} is in {}: {}", action.batch_id, action.state.value, action.repair.name.lower())
    match action.repair:
        case Repair.REMOVE | Repair.DISCARD:
            spool.discard(action.batch_id)
        case Repair.ARCHIVE:
            spool.archive(action.batch_id)
            spool.discard(action.batch_id)
        case Repair.INTAKE:
            spool.reset_intake(action.batch_id)
        case Repair.WORK | Repair.PUBLISH:
            pass
