"""Rights: a spool as this user finds it, read-only; nothing is made, locked or renamed.

DIAGNOSTICS
    None: what may not be looked at is a room that this user may not write.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

from batchd.core.doctor.place import RoomFacts, SpoolFacts
from batchd.edges.spool.layout import MODES, file_system_of, is_remote
from batchd.edges.spool.trouble import nearest


def spool_facts(path: Path, is_held: bool) -> SpoolFacts:
    """`is_held`: whether a batchd is at work on it."""
    root = path.absolute()
    user = _user(os.geteuid())
    there = root if root.is_dir() else nearest(root)
    file_system = _file_system(there)
    known = {name: root / name for name in MODES if (root / name).is_dir()}
    return SpoolFacts(
        path=str(root),
        user=user,
        rooms=tuple(_room(name, place, there) for name, place in known.items()),
        missing=tuple(name for name in MODES if name not in known) if known else (),
        may_be_made=os.access(there, os.W_OK | os.X_OK),
        file_system=file_system,
        is_remote=is_remote(file_system),
        is_held=is_held,
        group=_group(known["inbox"]) if "inbox" in known else "",
    )


def disk_facts(path: Path) -> tuple[int, int, int | None]:
    """Free bytes, all bytes, and files that may still be made (None: it does not count them)."""
    space = os.statvfs(nearest(path.absolute()))
    files = space.f_favail if space.f_files else None
    return space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, files


def _room(name: str, place: Path, root: Path) -> RoomFacts:
    found = place.stat()
    return RoomFacts(
        name=name,
        owner=_user(found.st_uid),
        may_write=os.access(place, os.W_OK | os.X_OK),
        is_on_mount=found.st_dev == root.stat().st_dev,
        is_apart=bool(found.st_mode & stat.S_ISVTX) or not found.st_mode & 0o022,
    )


def _file_system(place: Path) -> str:
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        return file_system_of(mounts, Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii"))
    except OSError:
        return ""
    finally:
        os.close(fd)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(place: Path) -> str:
    number = place.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
