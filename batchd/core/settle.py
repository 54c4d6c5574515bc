"""Settle: when a file in the inbox has stopped changing, whose turn it is, and what cannot be claimed.

SUMMARY
    A sweep lists the inbox; two sweeps that see the same signature `settle_s` apart, on our own monotonic
    clock, make a file a candidate. Modification times prove nothing (`rsync -a` sets them); the change time
    cannot be set by a user, so it is part of the signature. Where the kernel says that a writer holds the
    file, it waits whatever the time; that question is the spool's.

    Among the settled, owners take turns, so that a million files of one do not hold up another's only one.

DIAGNOSTICS
    None: values in, decisions out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

#: Options may come before their batch file: programs that copy a folder send them in the order of names, and
#: the small batch file follows within seconds. Only then are they listed as left alone.
ALONE_S = 30.0

_BATCH_SUFFIX = b".jsonl"
_OPTIONS_SUFFIX = b".options.json"


class Kind(StrEnum):
    """What a name in the inbox is."""

    BATCH = "batch"  # NAME.jsonl, a regular file we can read
    OPTIONS = "options"  # NAME.options.json
    UNCLAIMABLE = "unclaimable"  # stays where it is, listed in the status with `reason`


#: (device, inode, size, mtime_ns, ctime_ns)
Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One name of one sweep, and the user id of its owner."""

    name: bytes
    kind: Kind
    signature: Signature
    reason: str = ""
    uid: int = 0

    @property
    def size_bytes(self) -> int:
        """As of the sweep."""
        return self.signature[2]


@dataclass(frozen=True, slots=True)
class Watched:
    """A signature and since when (monotonic seconds) it has not changed."""

    signature: Signature
    since: float


def observe(
    watched: Mapping[bytes, Watched], seen: Sequence[Seen], now: float, settle_s: float
) -> tuple[dict[bytes, Watched], list[Seen]]:
    """The next memory, and the batch files that have been still for `settle_s`, oldest first.

    An options file that still changes, or that cannot be claimed, holds its batch back: an option must not be
    left out silently. One that is absent does not, and neither does one of another owner.
    """
    memory: dict[bytes, Watched] = {}
    for item in seen:
        before = watched.get(item.name)
        still = before is not None and before.signature == item.signature
        memory[item.name] = before if still and before is not None else Watched(item.signature, now)
    stuck, owners = _stuck_options(seen), _owners(seen)
    settled = [
        item
        for item in seen
        if item.kind is Kind.BATCH
        and now - memory[item.name].since >= settle_s
        and (
            owners.get(options_name(item.name)) != item.uid
            or (options_name(item.name) not in stuck and _options_settled(memory, item.name, now, settle_s))
        )
    ]
    settled.sort(key=lambda item: memory[item.name].since)
    return memory, settled


def turns(settled: Sequence[Seen], in_house: Mapping[int, int]) -> list[Seen]:
    """The settled in the order in which they are claimed: who has fewest batches in the house comes first.

    `in_house` counts them by owner. Files of one owner keep their order.
    """
    count = Counter(in_house)
    ranked = []
    for item in settled:
        ranked.append((count[item.uid], item))
        count[item.uid] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def unclaimable(watched: Mapping[bytes, Watched], seen: Sequence[Seen], now: float) -> list[Seen]:
    """All that stays where it is, each with its reason and a next step for its owner."""
    stuck, owners = _stuck_options(seen), _owners(seen)
    found = []
    for item in seen:
        if item.kind is Kind.UNCLAIMABLE:
            found.append(item)
        elif item.kind is Kind.BATCH:
            reason = stuck.get(options_name(item.name))
            if reason and owners[options_name(item.name)] == item.uid:
                found.append(_left(item, f"its options file cannot be claimed: {reason}"))
        elif owners.get(batch_name(item.name), item.uid) != item.uid:
            found.append(_left(item, "it belongs to another user than its batch file, and is ignored"))
        elif batch_name(item.name) not in owners and now - watched[item.name].since >= ALONE_S:
            found.append(
                _left(
                    item,
                    "its batch file is missing, or was claimed before these options came: hand in both "
                    "together (batchd submit), or take this away",
                )
            )
    return found


def options_name(name: bytes) -> bytes:
    """`NAME.jsonl` is accompanied by `NAME.options.json`."""
    return name.removesuffix(_BATCH_SUFFIX) + _OPTIONS_SUFFIX


def batch_name(name: bytes) -> bytes:
    """The batch file that this options file accompanies."""
    return name.removesuffix(_OPTIONS_SUFFIX) + _BATCH_SUFFIX


def _stuck_options(seen: Sequence[Seen]) -> dict[bytes, str]:
    return {
        item.name: item.reason
        for item in seen
        if item.kind is Kind.UNCLAIMABLE and item.name.endswith(_OPTIONS_SUFFIX)
    }


def _owners(seen: Sequence[Seen]) -> dict[bytes, int]:
    return {item.name: item.uid for item in seen}


def _options_settled(memory: Mapping[bytes, Watched], name: bytes, now: float, settle_s: float) -> bool:
    options = memory.get(options_name(name))
    return options is None or now - options.since >= settle_s


def _left(item: Seen, reason: str) -> Seen:
    return replace(item, kind=Kind.UNCLAIMABLE, reason=reason)
