"""Machine: on what something was measured; a figure without it says nothing.

DIAGNOSTICS
    None: what cannot be read is `unknown`.
"""

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from batchd import __version__
from batchd.core.space import in_units
from batchd.edges.memory import machine_bytes

_CPU_INFO = Path("/proc/cpuinfo")

#: A question to git on a slow disk.
_GIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """`cores`: those that this process may use. `load`: programs that ran beside, as it began."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    batchd: str
    commit: str
    load: float

    def words(self) -> str:
        """One line."""
        return (
            f"{self.cpu}, {self.cores} cores, {in_units(self.memory_bytes)} of memory, Linux {self.kernel}, "
            f"Python {self.python}, batchd {self.batchd} ({self.commit}), load {self.load:.1f} at the start"
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=machine_bytes()[0] or 0,
        kernel=platform.release(),
        python=platform.python_version(),
        batchd=__version__,
        commit=_commit(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    with suppress(OSError):
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "unknown"


def _commit() -> str:
    """Of a clone; an installed package is told by its version."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return "installed"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=True)
        return said.stdout.strip() or "unknown"
    return "unknown"
