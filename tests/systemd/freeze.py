"""Stops every thread of a process but its first one, as a hanging disk stops who writes to it.

SUMMARY
    python -m tests.systemd.freeze PID      prints "frozen N" and stays until the process has died

    ptrace(2): a seized thread that is interrupted stands still while we live, and the others go on.

DIAGNOSTICS
    Fatal: OSError where the kernel refuses.
"""

import ctypes
import os
import sys
from pathlib import Path

#: From sys/ptrace.h and sys/wait.h.
_SEIZE, _INTERRUPT, _WALL = 0x4206, 0x4207, 0x40000000


def _ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def freeze(pid: int) -> int:
    """How many threads stand still now."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
    for thread in threads:
        _ptrace(_SEIZE, thread)
        _ptrace(_INTERRUPT, thread)
    return len(threads)


if __name__ == "__main__":
    print("frozen", freeze(int(sys.argv[1])), flush=True)
    while True:
        try:
            # One that stopped is only noted; one that died must be buried before its process can be.
            os.waitpid(-1, _WALL)
        except ChildProcessError:
            break
