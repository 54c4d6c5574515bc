"""Flocks: who holds the lock of a file, as the kernel lists it.

SUMMARY
    `lock_id` names a file as `/proc/locks` does: the device of its mount, and its inode. `flocks_of` are the
    locks on it that are held, with their processes. An inode's number alone names nothing: anybody can make a
    file elsewhere that has the same one, and lock that.

DIAGNOSTICS
    None: a text that says nothing of the file, or that is torn, answers nobody.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flock:
    """A lock that is held. `pid`: of the process that took it, which may have handed it down since."""

    pid: int
    is_exclusive: bool


def lock_id(mountinfo: str, fdinfo: str, inode: int) -> str:
    """`fe:00:9977988`, of an open file, by `/proc/self/mountinfo` and its `fdinfo`; empty when these lack it.

    Not by `st_dev`: some file systems (btrfs) show another number there than the kernel's list has.
    """
    mount_id = next((line.split()[1] for line in fdinfo.splitlines() if line.startswith("mnt_id:")), None)
    for line in mountinfo.splitlines():
        fields = line.split(" ", 3)
        if len(fields) == 4 and fields[0] == mount_id:
            major, _, minor = fields[2].partition(":")
            return f"{int(major):02x}:{int(minor):02x}:{inode}"
    return ""


def flocks_of(lock_ids: Iterable[str], locks: str) -> dict[str, list[Flock]]:
    """Of each of these files that is locked: by whom. `locks`: the text of `/proc/locks`."""
    wanted = {name for name in lock_ids if name}
    found: dict[str, list[Flock]] = {}
    for name, flock in _listed(locks):
        if name in wanted:
            found.setdefault(name, []).append(flock)
    return found


def _listed(locks: str) -> Iterator[tuple[str, Flock]]:
    """`1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`. One that is waited for has an arrow instead."""
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[4].isdecimal():
            yield fields[5], Flock(int(fields[4]), fields[3] == "WRITE")
