"""Telling a daemon what to do with a batch, for the command line: a file in control/.

SUMMARY
    A control file has no content: its name is what it asks, its time of change is when. It may be put there
    before its batch is claimed, and while no daemon runs.

DIAGNOSTICS
    Fatal: ConfigError where there is no spool, SpoolError when control/ cannot be written.
"""

import os
from pathlib import Path

from batchd.edges.spool import disk
from batchd.errors import ConfigError, SpoolError

#: What takes the place of what.
_OPPOSITES = {"pause": "resume", "resume": "pause"}


def tell(root: Path, batch_id: str, verb: str) -> None:
    """Ask this of the batch, in place of what was asked before. The id is a full one."""
    try:
        control = os.open(root / "control", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"There is no spool in {str(root)!a}: {error.strerror}.",
            "Start `batchd daemon`, or name its spool with --spool.",
        ) from error
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        # A new file each time: its time of change is the moment of the latest wish.
        disk.remove_file(f"{batch_id}.{verb}", control)
        os.close(os.open(f"{batch_id}.{verb}", flags, 0o640, dir_fd=control))
        if verb in _OPPOSITES:
            disk.remove_file(f"{batch_id}.{_OPPOSITES[verb]}", control)
    except PermissionError as error:
        raise SpoolError(
            f"{str(root / 'control')!a} cannot be written: {error.strerror}.",
            "Who tells the daemon what to do is a member of its group, such as batchd-submit.",
        ) from error
    except OSError as error:
        raise disk.as_spool_error("a control file was written", error) from error
    finally:
        os.close(control)
