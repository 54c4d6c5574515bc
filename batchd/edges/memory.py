"""Memory, as the kernel counts it: ours, and what the machine has left.

SUMMARY
    Ours is RssAnon: the journal's mapped pages are page cache, which the kernel takes back when it wants.
    What is left is MemAvailable; a sandbox (ProcSubset=pid) hides it, and then nobody knows.

DIAGNOSTICS
    None: a number that cannot be read is None.
"""

from pathlib import Path

_PROC = Path("/proc")


def resident_bytes(proc: Path = _PROC) -> int | None:
    """Anonymous memory of this process."""
    return _field(proc / "self" / "status", "RssAnon:")


def available_bytes(proc: Path = _PROC) -> int | None:
    """What programs can still take without swapping."""
    return _field(proc / "meminfo", "MemAvailable:")


def _field(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024  # the kernel writes "kB" and means KiB
    return None
