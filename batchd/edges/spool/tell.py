"""Telling a daemon what to do with a batch, for the command line: a file in control/.

SUMMARY
    A control file has no content: its name is what it asks, its time of change is when. It may be put there
    before its batch is claimed, and while no daemon runs. Any member of the group may ask anything of any
    batch. What another member has asked stands until the daemon has done it: nobody else may delete it.

DIAGNOSTICS
    Fatal: ConfigError where there is no spool, SpoolError when control/ cannot be written.
"""

import os
from pathlib import Path

from batchd.edges.spool import disk
from batchd.edges.spool.trouble import as_spool_error
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
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        opposite = f"{batch_id}.{_OPPOSITES[verb]}" if verb in _OPPOSITES else ""
        if opposite and not _is_anothers(opposite, control):
            disk.remove_file(opposite, control)
        if not _is_asked_by_another(f"{batch_id}.{verb}", opposite, control):
            # A new file each time: its time of change is the moment of the latest wish.
            disk.remove_file(f"{batch_id}.{verb}", control)
            os.close(os.open(f"{batch_id}.{verb}", flags, 0o640, dir_fd=control))
    except PermissionError as error:
        raise SpoolError(
            f"{str(root / 'control')!a} cannot be written: {error.strerror}.",
            "Who tells the daemon what to do is a member of its group, such as batchd-submit.",
        ) from error
    except OSError as error:
        raise as_spool_error("a control file was written", error, control) from error
    finally:
        os.close(control)


def _is_anothers(name: str, control: int) -> bool:
    """Whether it is there and not ours to delete (the directory is sticky)."""
    if os.geteuid() in (0, os.fstat(control).st_uid):
        return False
    return disk.owner_of(name, control) not in (None, os.geteuid())


def _is_asked_by_another(name: str, opposite: str, control: int) -> bool:
    """Whether another user's file says it already, so that nothing is left to do."""
    if not _is_anothers(name, control):
        return False
    if opposite and disk.has_name(opposite, control):
        asked, revoked = (disk.looked_at(item, control).st_ctime_ns for item in (name, opposite))
        if revoked > asked:
            raise SpoolError(
                f"Other users have asked for {name}, then {opposite}, and the daemon has not taken them yet.",
                "Does it run (`batchd status`)? Give the command again when it has taken them.",
            )
    return True
