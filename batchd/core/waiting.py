"""Waiting: a claimed batch that could not be taken in yet, when to look at it again, and how many may wait.

SUMMARY
    Whoever wrote a file may hold it open after the claim, so a claimed file can still change; and the disk
    may lack room for its copy. Either way the batch stays where it is, in the state S2, and is looked at
    again after pauses that grow, so that a file which changes for a day is copied a few times and not
    thousands of times. It costs no journal and no copy meanwhile, only its place in `processing/`.

DIAGNOSTICS
    None: values in, decisions out.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from batchd.core.fault import Refusal
from batchd.core.settle import Seen, Signature
from batchd.core.space import in_units

#: The pauses between two looks double from the first to the last. A second is the scale of a slow writer's
#: last block; a minute is what a person who made room on the disk is willing to wait.
PAUSE_FIRST_S = 1.0
PAUSE_LAST_S = 60.0

#: A claimed file that still changes after this long fails: no copy of a batch file takes a day. Counted on
#: the monotonic clock of one run of the daemon, so that a wall clock that jumps fails nothing.
UNSETTLED_S_MAX = 86_400.0

#: Batches of one owner that wait after their claim; beyond it the owner's others stay in the inbox. Many,
#: because each is only a directory and one look a minute, and on most machines all files have one owner.
WAITING_PER_OWNER_MAX = 256

#: The same for all owners together.
WAITING_MAX = 1_024


#: Why the batch of a file that was not read fails.
UNSETTLED = Refusal(
    "file_never_settled", "The file was still changing a day after it was claimed, so it was not read."
)
CANCELLED_UNREAD = Refusal("batch_cancelled", "The batch was cancelled before its file was read.")
OVERGROWN = Refusal(
    "invalid_request", "The file grew after it was claimed, beyond what one owner may have (owner_bytes_max)."
)


@dataclass(frozen=True, slots=True)
class Original:
    """A claimed file as it lies in orig/: `has_writer` None where the kernel does not say."""

    name: bytes
    uid: int
    signature: Signature
    has_writer: bool | None
    lines: int  # estimated from its beginning

    @property
    def size_bytes(self) -> int:
        """As of the look."""
        return self.signature[2]


@dataclass(frozen=True, slots=True)
class Holding:
    """What a batch in the house takes: its file, and with its journal and its results."""

    uid: int
    input_bytes: int
    taken_bytes: int
    is_accepted: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A claimed batch on its way in. `reason` says why it waits, in words for the status."""

    batch_id: str
    name: bytes
    look_at: float = 0.0
    pause_s: float = PAUSE_FIRST_S
    reason: str = ""
    signature: Signature | None = None  # of the last look that found it changing
    unsettled_since: float | None = None
    lines: int | None = None  # counted by a copy for which there was no room
    note: str = ""  # for the log and the results


def is_still(waiting: Waiting, original: Original) -> bool:
    """Whether it is worth a copy: nobody writes it, and it is as the last look left it."""
    return original.has_writer is not True and waiting.signature in (None, original.signature)


def is_given_up(waiting: Waiting, now: float) -> bool:
    """Whether it changed for too long."""
    return waiting.unsettled_since is not None and now - waiting.unsettled_since >= UNSETTLED_S_MAX


def hold_unsettled(waiting: Waiting, now: float, original: Original) -> Waiting:
    """It still changes."""
    since = now if waiting.unsettled_since is None else waiting.unsettled_since
    reason = "it is still being written" if original.has_writer else "it changed after it was claimed"
    return replace(
        _later(waiting, now),
        reason=f"{reason}; batchd looks again within a minute, and gives it up after a day",
        signature=original.signature,
        unsettled_since=since,
    )


def hold_without_room(waiting: Waiting, now: float, reason: str) -> Waiting:
    """There is no room for its copy, or for what comes of it. It does not fail of that."""
    return replace(_later(waiting, now), reason=reason, signature=None, unsettled_since=None)


def kept_out(
    item: Seen,
    owned: Mapping[str, Holding],
    held: Set[str],
    input_bytes_max: int,
    owner_bytes_max: int,
) -> str:
    """Why a settled file must stay in the inbox for now; empty when it may come.

    `owned` has each batch in the house, `held` the ids of those that wait.
    """
    if len(held) >= WAITING_MAX:
        return f"{WAITING_MAX} claimed batches wait already"
    of_owner = {batch_id: batch.taken_bytes for batch_id, batch in owned.items() if batch.uid == item.uid}
    if len(held & of_owner.keys()) >= WAITING_PER_OWNER_MAX:
        return f"{WAITING_PER_OWNER_MAX} batches of its owner were claimed and wait already"
    in_all = sum(batch.input_bytes for batch in owned.values())
    if in_all + item.size_bytes > input_bytes_max:
        return f"with it all batches at work would have more than {in_units(input_bytes_max)} of input"
    if sum(of_owner.values()) + item.size_bytes > owner_bytes_max:
        return _too_much_of_owner(owner_bytes_max)
    return ""


def outgrown(uid: int, needed_bytes: int, owned: Mapping[str, Holding], owner_bytes_max: int) -> str:
    """Why a claimed batch must wait for what its owner has at work; empty when it need not.

    Only accepted ones count: two that wait do not wait for each other, and one alone may begin.
    """
    at_work = [batch.taken_bytes for batch in owned.values() if batch.is_accepted and batch.uid == uid]
    return (
        _too_much_of_owner(owner_bytes_max)
        if at_work and sum(at_work) + needed_bytes > owner_bytes_max
        else ""
    )


def _too_much_of_owner(limit_bytes: int) -> str:
    return (
        f"with it its owner's batches at work would take more than {in_units(limit_bytes)} "
        "(owner_bytes_max), counting journals and results"
    )


def _later(waiting: Waiting, now: float) -> Waiting:
    return replace(waiting, look_at=now + waiting.pause_s, pause_s=min(2 * waiting.pause_s, PAUSE_LAST_S))
