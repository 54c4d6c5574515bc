"""Limits that a shell, a unit or a container sets, by the names under which a person raises them.

SUMMARY
    The kernel says `Too many open files` or `File too large`, and means a number that somebody set. Who reads
    that looks at the disk. `limit_words` says which limit it is.

DIAGNOSTICS
    None: a code that means no such limit has no words.
"""

import errno

_WORDS = {
    errno.EMFILE: "this process may open no more files (ulimit -n, LimitNOFILE= of a unit)",
    errno.ENFILE: "this machine may open no more files (sysctl fs.file-max)",
    errno.EFBIG: "no file may grow any further (ulimit -f, LimitFSIZE= of a unit, or the file system)",
    errno.ENOMEM: "no memory or address space is left (ulimit -v, MemoryMax= of a unit)",
    errno.EAGAIN: "no further thread or process may be started (ulimit -u, TasksMax= of a unit)",
}


def limit_words(code: int | None) -> str:
    """What this errno means where a limit was met; empty for any other."""
    return _WORDS.get(code or 0, "")
