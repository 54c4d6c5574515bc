"""Pressure: how much programs wait for memory, and what our control group may have.

SUMMARY
    stalled_share    of the last ten seconds, the share in which some program waited for memory; 0 to 1
    group_bytes      limit and use of the tightest control group above us, of cgroup v2 or v1

    Files that the kernel can drop count as free: a group is always full of them.

DIAGNOSTICS
    None: a kernel without these figures, or a sandbox that hides them, gives None.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")

#: cgroup v1 writes a limit near 2^63 where there is none.
_NO_LIMIT_BYTES = 2**60


@dataclass(frozen=True, slots=True)
class _Names:
    """What the two versions call the same things."""

    limits: tuple[str, ...]
    used: str
    droppable: str  # in memory.stat


_V2 = _Names(("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1 = _Names(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def stalled_share(proc: Path = PROC, groups: Path = GROUPS) -> float | None:
    """Of the whole machine. The root group tells it too, where a sandbox hides the rest of /proc."""
    for path in (proc / "pressure" / "memory", groups / "memory.pressure"):
        for line in _text(path).splitlines():
            if line.startswith("some "):
                # some avg10=0.00 avg60=0.00 avg300=0.00 total=0
                fields = dict(part.partition("=")[::2] for part in line.split()[1:])
                return _number(fields.get("avg10", ""), 100.0)
    return None


def group_bytes(proc: Path = PROC, groups: Path = GROUPS) -> tuple[int | None, int | None]:
    """Limit and use; None and None where nothing limits us."""
    found = [pair for place, names in _places(proc, groups) if (pair := _limited(place, names)) is not None]
    return max(found, key=lambda pair: pair[1] / max(pair[0], 1), default=(None, None))


def _places(proc: Path, groups: Path) -> Iterator[tuple[Path, _Names]]:
    """Our group and all above it, innermost first."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (groups / "memory", _V1) if controllers else (groups, _V2)
        place = top / path.lstrip("/")
        # In a container the path may be the host's: then only the top is ours to see.
        while place != top and top in place.parents:
            yield place, names
            place = place.parent
        yield top, names


def _limited(place: Path, names: _Names) -> tuple[int, int] | None:
    limits = [limit for name in names.limits if (limit := _whole(place / name)) is not None]
    used = _whole(place / names.used)
    if used is None or not limits or min(limits) >= _NO_LIMIT_BYTES:
        return None
    droppable = 0
    for line in _text(place / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == names.droppable and value.isdecimal():
            droppable = int(value)
    return min(limits), max(0, used - droppable)


def _whole(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None  # "max": no limit


def _number(text: str, whole: float) -> float | None:
    try:
        return float(text) / whole
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
