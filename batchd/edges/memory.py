"""Memory, as the kernel counts it: ours, the model server's, the machine's.

SUMMARY
    resident_bytes    anonymous memory of this process: the journal's mapped pages are page cache, which the
                      kernel takes back when it wants
    machine_bytes     what there is, and what could still be had
    family            a process and all that came of it; `named` finds processes by their program's name
    family_bytes      what they hold resident, mapped files included

DIAGNOSTICS
    None: a number that cannot be read is None; a sandbox may hide other users' processes, or meminfo.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

PROC = Path("/proc")


def resident_bytes(proc: Path = PROC, pid: int | None = None) -> int | None:
    """Anonymous memory of this process, or of that one."""
    return _field(proc / ("self" if pid is None else str(pid)) / "status", "RssAnon:")


def machine_bytes(proc: Path = PROC) -> tuple[int | None, int | None]:
    """All of it, and what programs could still have without swapping."""
    return _field(proc / "meminfo", "MemTotal:"), _field(proc / "meminfo", "MemAvailable:")


def family(roots: Collection[int], proc: Path = PROC) -> set[int]:
    """These processes and their descendants."""
    children: dict[int, list[int]] = {}
    for pid, _, parent in _processes(proc):
        children.setdefault(parent, []).append(pid)
    found, waiting = set(roots), list(roots)
    while waiting:
        new = set(children.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def named(name: str, proc: Path = PROC) -> set[int]:
    """Processes of programs with this name. The kernel keeps 15 characters of it."""
    return {pid for pid, known, _ in _processes(proc) if known == name[:15]}


def family_bytes(pids: Collection[int], proc: Path = PROC) -> int | None:
    """Resident memory of these processes; pages that two of them share count twice."""
    sizes = [size for pid in pids if (size := _field(proc / str(pid) / "status", "VmRSS:")) is not None]
    return sum(sizes) if sizes else None


def _processes(proc: Path) -> Iterator[tuple[int, str, int]]:
    """Number, program and parent of each process that we may see."""
    try:
        numbers = [entry.name for entry in proc.iterdir() if entry.name.isdecimal()]
    except OSError:
        return
    for number in numbers:
        try:
            text = (proc / number / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile, or is hidden from us
        # `4711 (name) S 1 ...`; a name may hold blanks and parentheses.
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        if len(fields) > 1:
            yield int(number), name, int(fields[1])


def _field(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024  # the kernel writes "kB" and means KiB
    return None
