"""The directories of one spool, opened for life.

SUMMARY
    `Layout.open` makes what lacks, takes the spool lock, refuses a remote file system, and proves with real
    renames that a claim and a publication can work: two bind mounts of one file system look alike (equal
    st_dev) and still refuse a rename.

    Directories that exist keep their modes: on a machine with several submitters the service's tmpfiles
    snippet made them. Only the sticky bit of inbox/ and control/ is added where it lacks: without it, members
    of the group may move each other's files. Those that we make are for one person, so the root lets nobody
    else in.

DIAGNOSTICS
    Fatal: UnavailableError as in `lock`; ConfigError for a remote file system, or for
    directories that lie on different mounts or are not ours alone; SpoolError when the disk refuses.
    Warning: a directory that others write lacks the sticky bit, and we may not set it.
"""

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from batchd.edges.spool.disk import has_writer, write_all
from batchd.edges.spool.lock import take
from batchd.edges.spool.private import opened_own
from batchd.edges.spool.trouble import as_spool_error, nearest
from batchd.errors import BatchdError, ConfigError

#: The directory is not where, or not what it must be: a setting is wrong, and no disk.
_MISPLACED = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS)

#: Modes for directories that we make. Set-group: what is made inside belongs to the directory's group.
#: Sticky: what one member put there, no other member may rename or delete.
MODES = {
    "inbox": 0o3770,
    "processing": 0o2700,
    "outbox": 0o2750,
    "partial": 0o2750,
    "control": 0o3770,
    "archive": 0o2700,
}

#: File systems whose server is elsewhere: no inotify for what others write, cached attributes, uncertain
#: locks. FUSE can be anything (sshfs, cloud drives), so it counts as remote.
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "lustre", "afs", "gpfs", "beegfs"}
    | {"glusterfs", "ocfs2", "gfs2", "ncpfs", "fuse", "fuseblk"}
)

#: How long a file must not change: where the kernel tells us of writers, two seconds only spare us the
#: question; where it does not, ten seconds bridge the pauses of a slow copy.
_SETTLE_WITH_LEASE_S = 2.0
_SETTLE_WITHOUT_LEASE_S = 10.0

#: From linux/capability.h; the bit's number in CapEff of /proc/self/status.
_CAP_LEASE = 28

_README = """\
This directory is the spool of batchd. batchd owns it, and only batchd renames or deletes in it.

  inbox/       put NAME.jsonl here, under a hidden name first, then rename it (or: batchd submit NAME.jsonl)
  outbox/      one complete directory for each finished batch: take it away when you like
  partial/     answers of running batches, for reading along; not the result
  control/     <batch id>.pause, .resume or .cancel
  processing/  batches at work: leave it alone
  archive/     the files as they were handed in, kept for a while
  status.json  what `batchd status` shows
  turns        whose batch began last, so that owners take turns
  lock         held while batchd runs
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Descriptors of every directory, and two paths for those who must have one."""

    path: Path
    outbox_path: Path
    root: int
    inbox: int
    processing: int
    outbox: int
    partial: int
    control: int
    archive: int
    lock: int

    @classmethod
    def open(cls, path: Path, outbox_path: Path | None) -> "Layout":
        """Make, lock, check and probe."""
        path = path.absolute()
        outside = None if outbox_path is None else outbox_path.absolute()
        with contextlib.ExitStack() as undo:
            try:
                root = _enter(undo, opened_own(path, 0o700))
                _refuse_remote(root, path)
                lock = _enter(undo, take(root, path))
                fds = {name: _enter(undo, _made_below(root, name)) for name in MODES if name != "outbox"}
                outbox = _made_below(root, "outbox") if outside is None else opened_own(outside, 0o755)
                _enter(undo, outbox)
                layout = cls(path, outside or path / "outbox", root=root, outbox=outbox, lock=lock, **fds)
                _write_readme(root)
                _probe_rename(layout.processing, layout.outbox, layout.inbox)
            except OSError as error:
                raise _not_opened(path, error) from error
            undo.pop_all()
            return layout

    def close(self) -> None:
        """Give the directories back; closing the lock's descriptor releases the spool."""
        for fd in (self.inbox, self.processing, self.outbox, self.partial, self.control, self.archive):
            os.close(fd)
        os.close(self.root)
        os.close(self.lock)

    @property
    def directory_mode(self) -> int:
        """Of what is made for others to read: batches and results."""
        return 0o700 if self._is_private() else 0o750

    @property
    def file_mode(self) -> int:
        """The same for files."""
        return 0o600 if self._is_private() else 0o640

    def _is_private(self) -> bool:
        """Whether it is one person's: the root lets nobody else in."""
        return not os.fstat(self.root).st_mode & 0o077

    def is_inbox_ours(self) -> bool:
        """Whether the open inbox still is the one that has the name. FileNotFoundError when none has."""
        held, named = os.fstat(self.inbox), os.stat("inbox", dir_fd=self.root, follow_symlinks=False)
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def renew_inbox(self) -> None:
        """Open what now has the name, in the place of the old one, if claims from it can work."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open("inbox", flags, dir_fd=self.root)
        try:
            _probe_rename(self.processing, fd)
            _keep_apart("inbox", fd)
            os.dup2(fd, self.inbox, inheritable=False)
        finally:
            os.close(fd)

    def renew_archive(self) -> None:
        """Open what now has the name, made again where somebody deleted it while we ran."""
        fd = _made_below(self.root, "archive")
        try:
            os.dup2(fd, self.archive, inheritable=False)
        finally:
            os.close(fd)

    def default_settle_s(self) -> float:
        """How long a file here should lie still before it is claimed."""
        return _SETTLE_WITH_LEASE_S if self._has_leases() else _SETTLE_WITHOUT_LEASE_S

    def _has_leases(self) -> bool:
        # A lease on a file that another user owns needs the capability; where nobody else may write into the
        # inbox, all files are our own.
        is_closed = not os.fstat(self.root).st_mode & 0o011
        is_ours_alone = is_closed or not os.fstat(self.inbox).st_mode & 0o022
        if not is_ours_alone and not _has_capability(_CAP_LEASE):
            return False
        fd = os.open("lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.root)
        try:
            # We hold it open for writing ourselves, so a kernel that knows leases here says True.
            return has_writer(fd) is True
        finally:
            os.close(fd)


def _enter(undo: contextlib.ExitStack, fd: int) -> int:
    undo.callback(os.close, fd)
    return fd


def _not_opened(path: Path, error: OSError) -> BatchdError:
    if error.errno not in _MISPLACED:
        return as_spool_error("it was opened", error, nearest(path))
    return ConfigError(
        f"The spool {ascii(str(path))[1:-1]} cannot be made or opened: {error.strerror} ({error.filename}).",
        "Name a directory on a local disk that this user may write to, with --spool or the setting `spool`.",
    )


def _made_below(root: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.mkdir(name, MODES[name] & 0o1777, dir_fd=root)
    except FileExistsError:
        fd = os.open(name, flags, dir_fd=root)
        if MODES[name] & stat.S_ISVTX:
            _keep_apart(name, fd)
        return fd
    fd = os.open(name, flags, dir_fd=root)
    # A sandbox may forbid the set-group bit (RestrictSUIDSGID=); then results have the daemon's own group.
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, MODES[name])
    return fd


def _keep_apart(name: str, fd: int) -> None:
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode & stat.S_ISVTX or not mode & 0o022:
        return
    try:
        os.fchmod(fd, mode | stat.S_ISVTX)
    except PermissionError:  # another's directory; or RestrictSUIDSGID=, which refuses every set-group mode
        logger.bind(event="not_sticky").warning(
            "{}/ lets members of its group move and delete each other's files: chmod +t it, or run "
            "`systemd-tmpfiles --create` with the newer batchd.conf",
            name,
        )


def file_system_of(mountinfo: str, fdinfo: str) -> str:
    """The type of the mount that a descriptor lies on, empty when the two texts do not say."""
    mount_id = next((line.split()[1] for line in fdinfo.splitlines() if line.startswith("mnt_id:")), None)
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        if head.split(" ", 1)[0] == mount_id:
            return tail.split(" ", 1)[0]
    return ""


def is_remote(file_system: str) -> bool:
    """Whether a file system of this type may be changed behind the kernel's back."""
    return file_system in _REMOTE or file_system.startswith("fuse.")


def _refuse_remote(root: int, path: Path) -> None:
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        fdinfo = Path(f"/proc/self/fdinfo/{root}").read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise ConfigError(
            "/proc is not mounted, so nobody can say whether the spool lies on a local disk.",
            "Mount it (`mount -t proc proc /proc`).",
        ) from error
    file_system = file_system_of(mountinfo, fdinfo)
    if is_remote(file_system):
        raise ConfigError(
            f"The spool {ascii(str(path))[1:-1]} lies on {file_system}, which is not a local disk.",
            "Give a directory on a local disk with --spool; locks, leases and durable writes need one.",
        )


def _write_readme(root: int) -> None:
    with contextlib.suppress(FileExistsError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o644 if os.fstat(root).st_mode & 0o077 else 0o600
        fd = os.open("README", flags, mode, dir_fd=root)
        try:
            write_all(fd, _README.encode())
        finally:
            os.close(fd)


def _probe_rename(*stations: int) -> None:
    # The first station is one that only we can enter, and the inbox comes last: whatever members of the
    # submit group do to it there, it has arrived. Chance in the name: they could hold a fixed one.
    name = f".probe-{secrets.token_hex(8)}"
    os.mkdir(name, 0o700, dir_fd=stations[0])
    place = stations[0]
    try:
        for station in stations[1:]:
            os.rename(name, name, src_dir_fd=place, dst_dir_fd=station)
            place = station
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise ConfigError(
            "inbox, processing and outbox do not lie on one mount, so that no rename between them works.",
            "Put them under one directory; under systemd, under one ReadWritePaths= entry.",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=place)


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)
