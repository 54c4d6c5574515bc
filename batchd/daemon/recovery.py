"""Recovery: after a start, bring every directory in `processing/` back onto its way.

SUMMARY
    Reads each journal's phase, lets `core/reconcile` list the repairs, and runs those that need no model:
    claims that did not happen are removed, finished publications are finished. What must be taken in or
    worked on is returned, furthest state first. Options that a crash kept from following their batch follow
    now, unless a newer file of that name waits: then they are the newer one's. Requests that were in flight
    when the daemon died are simply pending again and are not charged: the daemon's death says nothing about
    them.

DIAGNOSTICS
    Fatal: UnknownStateError for a directory that no state describes; JournalError for a journal that cannot
    be opened, JournalVersionError for one that another batchd wrote.
    Warning: a damaged journal is put aside; intake salvages its answers.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from loguru import logger

from batchd import failpoints
from batchd.core.lifecycle import Phase, State
from batchd.core.reconcile import Action, Repair, actions
from batchd.daemon.ports import Journal, Spool
from batchd.errors import DamagedJournalError


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left to do: batches to take in again, batches to work on, batches to publish.

    `published` names the result directories of those that the crash found already published.
    """

    intake: Sequence[str]
    work: Sequence[str]
    publish: Sequence[str]
    published: Mapping[str, str] = field(default_factory=dict)


def recover(spool: Spool, open_journal: Callable[[str], Journal]) -> Recovered:
    """Run the repairs. `open_journal` opens by path; journals are closed again here. Blocking."""
    failpoints.reach("recovery.begun")
    places = spool.places()
    phases: dict[str, Phase | None] = {}
    names: dict[str, str] = {}
    damaged: dict[str, bool] = {}
    for batch_id, place in places.items():
        if not place.has_journal:
            continue
        try:
            phases[batch_id], names[batch_id] = _phase(open_journal, spool.journal_path(batch_id))
        except DamagedJournalError as error:
            logger.bind(event="journal_damaged", batch_id=batch_id).error(
                "recovery: {} goes on without its journal: {}", batch_id, error.message
            )
            damaged[batch_id] = bool(spool.result_path(batch_id) or spool.remains_path(batch_id))
    todo = actions(places, phases, damaged)
    # Listed only when it matters: somebody may have put a million files there.
    is_asked = any(action.state is State.S2 for action in todo)
    in_inbox = {seen.name for seen in spool.sweep()} if is_asked else frozenset[bytes]()
    failpoints.reach("recovery.listed")
    for action in todo:
        _run(spool, action, in_inbox)
        failpoints.reach("recovery.repaired")
    return Recovered(
        intake=[action.batch_id for action in todo if action.repair in (Repair.INTAKE, Repair.SALVAGE)],
        work=[action.batch_id for action in todo if action.repair is Repair.WORK],
        publish=[action.batch_id for action in todo if action.repair is Repair.PUBLISH],
        published={
            action.batch_id: names[action.batch_id]
            for action in todo
            if action.repair in (Repair.ARCHIVE, Repair.DISCARD) and action.batch_id in names
        },
    )


def _phase(open_journal: Callable[[str], Journal], path: str) -> tuple[Phase | None, str]:
    """The phase, None where intake did not end, and the name of the result where one was made."""
    journal = open_journal(path)
    try:
        return journal.phase(), journal.meta().get("final_name", "")
    finally:
        journal.close()


def _run(spool: Spool, action: Action, in_inbox: Set[bytes]) -> None:
    logger.bind(event="recovery", batch_id=action.batch_id).info(
        "recovery: {} is in {}: {}", action.batch_id, action.state.value, action.repair.name.lower()
    )
    match action.repair:
        case Repair.REMOVE | Repair.DISCARD:
            spool.discard(action.batch_id)
            spool.empty_trash(action.batch_id)
        case Repair.ARCHIVE:
            spool.archive(action.batch_id)
            spool.discard(action.batch_id)
            spool.empty_trash(action.batch_id)
        case Repair.SALVAGE:
            spool.put_journal_aside(action.batch_id)
        case Repair.INTAKE:
            spool.reset_intake(action.batch_id)
            name = spool.original_name(action.batch_id)
            # In S2a the options followed before the copy was begun: what waits now came later.
            if action.state is State.S2 and name is not None and name not in in_inbox:
                spool.claim_options(name, action.batch_id)
        case Repair.WORK | Repair.PUBLISH:
            pass
