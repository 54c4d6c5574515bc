"""Memory that is ours, as the kernel counts it.

SUMMARY
    RssAnon: the journal's mapped pages are page cache, which the kernel takes back when it wants.

DIAGNOSTICS
    None: a number that cannot be read is None.
"""

from pathlib import Path

_PROC = Path("/proc")


def resident_bytes(proc: Path = _PROC) -> int | None:
    """Anonymous memory of this process."""
    return _field(proc / "self" / "status", "RssAnon:")


def _field(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024  # the kernel writes "kB" and means KiB
    return None
