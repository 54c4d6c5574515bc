"""Settle: when a file in the inbox has stopped changing, and why a thing there cannot be claimed.

SUMMARY
    A sweep lists the inbox; two sweeps that see the same signature `settle_s` apart, on our own monotonic
    clock, make a file a candidate. Modification times prove nothing (`rsync -a` sets them); the change time
    cannot be set by a user, so it is part of the signature. Where the kernel says that a writer holds the
    file, it waits whatever the time; that question is the spool's.

DIAGNOSTICS
    None: values in, decisions out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a name in the inbox is."""

    BATCH = "batch"  # NAME.jsonl, a regular file we can read
    OPTIONS = "options"  # NAME.options.json
    UNCLAIMABLE = "unclaimable"  # stays where it is, listed in the status with `reason`


#: (device, inode, size, mtime_ns, ctime_ns)
Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One name of one sweep."""

    name: bytes
    kind: Kind
    signature: Signature
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """A signature and since when (monotonic seconds) it has not changed."""

    signature: Signature
    since: float


def observe(
    watched: Mapping[bytes, Watched], seen: Sequence[Seen], now: float, settle_s: float
) -> tuple[dict[bytes, Watched], list[bytes]]:
    """The next memory, and the names of batch files that have been still for `settle_s`, oldest first.

    An options file that still changes holds its batch back; one that is absent does not.
    """
    memory: dict[bytes, Watched] = {}
    for item in seen:
        before = watched.get(item.name)
        still = before is not None and before.signature == item.signature
        memory[item.name] = before if still and before is not None else Watched(item.signature, now)
    settled = [
        item.name
        for item in seen
        if item.kind is Kind.BATCH
        and now - memory[item.name].since >= settle_s
        and _options_settled(memory, item.name, now, settle_s)
    ]
    settled.sort(key=lambda name: memory[name].since)
    return memory, settled


def options_name(name: bytes) -> bytes:
    """`NAME.jsonl` is accompanied by `NAME.options.json`."""
    return name.removesuffix(b".jsonl") + b".options.json"


def _options_settled(memory: Mapping[bytes, Watched], name: bytes, now: float, settle_s: float) -> bool:
    options = memory.get(options_name(name))
    return options is None or now - options.since >= settle_s
