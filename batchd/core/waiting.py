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

#: Why the batch of a file that was not read fails.
UNSETTLED = Refusal(
    "file_never_settled", "The file was still changing a day after it was claimed, so it was not read."
)
CANCELLED_UNREAD = Refusal("batch_cancelled", "The batch was cancelled before its file was read.")

#: Batches of one owner that wait after their claim; beyond it the owner's others stay in the inbox. Many,
#: because each is only a directory and one look a minute, and on most machines all files have one owner.
WAITING_PER_OWNER_MAX = 256

#: The same for all owners together.
WAITING_MAX = 1_024


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
class Waiting:
    """A claimed batch on its way in. `reason` says why it waits, in words for the status."""

    batch_id: str
    name: bytes
    look_at: float = 0.0
    pause_s: float = PAUSE_FIRST_S
    reason: str = ""
    signature: Signature | None = None  # of the last look that found it changing
    unsettled_since: float | None = None


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
    owned: Mapping[str, tuple[int, int]],
    held: Set[str],
    input_bytes_max: int,
    owner_bytes_max: int,
) -> str:
    """Why a settled file must stay in the inbox for now; empty when it may come.

    `owned` has owner and input bytes of each batch in the house, `held` the ids of those that wait.
    """
    if len(held) >= WAITING_MAX:
        return f"{WAITING_MAX} claimed batches wait already"
    of_owner = {batch_id: size for batch_id, (uid, size) in owned.items() if uid == item.uid}
    if len(held & of_owner.keys()) >= WAITING_PER_OWNER_MAX:
        return f"{WAITING_PER_OWNER_MAX} batches of its owner were claimed and wait already"
    in_all = sum(size for _, size in owned.values())
    for whose, size, limit in (
        ("all", in_all, input_bytes_max),
        ("its owner's", sum(of_owner.values()), owner_bytes_max),
    ):
        if size + item.size_bytes > limit:
            return f"with it {whose} batches at work would have more than {in_units(limit)} of input"
    return ""


def _later(waiting: Waiting, now: float) -> Waiting:
    return replace(waiting, look_at=now + waiting.pause_s, pause_s=min(2 * waiting.pause_s, PAUSE_LAST_S))
