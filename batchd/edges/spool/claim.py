"""The claim: one rename out of the inbox, and a look at what it moved.

SUMMARY
    The name in the inbox is a stranger's at every moment: between the sweep and the rename it may become a
    directory, a link, another file. So the rename comes first, into a directory that only we can reach, and
    then a descriptor of what lies there says what was moved. What is not a regular file goes back under its
    name, or under a hidden one where that is taken. A directory whose owner took the write permission from it
    meanwhile cannot be moved back: it stays in processing/.aside-..., which is no batch's.

    Options belong to the owner of the batch file. What lies beside it and is another's is left where it is.

DIAGNOSTICS
    Fatal: OSError of our own directories, which the spool translates; SpoolError for an id that is taken, and
    for a file that was moved and cannot be made durable: it stays claimed, for the next start.
    Warning: NotUsableError when a rename from the inbox is refused, or moved what is no file: it concerns
    this name only, and never ends the daemon.
"""

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass

from loguru import logger

from batchd import failpoints
from batchd.core.settle import options_name
from batchd.core.text import printable
from batchd.edges.spool import disk
from batchd.edges.spool.layout import Layout
from batchd.edges.spool.trouble import why
from batchd.errors import NotUsableError, SpoolError

#: NAME_MAX: no file can have a longer name, but the options of a file with a long name would.
NAME_BYTES_MAX = 255

#: What a rename from the inbox answers when its name is not what it was, or may not be moved: a directory of
#: another user's, an immutable file, a mount point. A full disk or a failing one is not among them.
_STRANGERS_FAULT = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EXDEV}
    | {errno.EBUSY, errno.ETXTBSY, errno.ESTALE, errno.ENAMETOOLONG, errno.EMLINK}
)


@dataclass(frozen=True, slots=True)
class Claims:
    """Moves files out of the inbox."""

    layout: Layout

    def claim(self, name: bytes, batch_id: str) -> bool:
        """Make processing/<id>/orig/ durable first, then rename: no batch is in a place not yet kept."""
        if name in {b"", b".", b".."} or b"/" in name:
            raise SpoolError(f"{name!a} is not a name in the inbox.")
        processing = self.layout.processing
        failpoints.reach("claim.begun")
        try:
            os.mkdir(batch_id, self.layout.directory_mode, dir_fd=processing)
        except FileExistsError:
            # A claim that the disk had no room for may have left it, and may not even have removed it.
            if not disk.is_unclaimed(batch_id, processing):
                raise SpoolError(f"A batch with the id {batch_id} is in processing/ already.") from None
        try:
            is_ours = self._moved_into(name, batch_id)
        except NotUsableError:
            self._undo(batch_id)
            raise
        except OSError as error:
            if disk.is_unclaimed(batch_id, processing):
                self._undo(batch_id)
                raise
            # Ours, and perhaps not durable: never NoSpaceError, for only recovery may go on with it.
            raise SpoolError(
                f"{batch_id} was claimed and cannot be made durable: {why(error)}.",
                "Start batchd again when the disk takes something; nothing is lost.",
            ) from error
        if not is_ours:
            self._undo(batch_id)
        failpoints.reach("claim.done")
        return is_ours

    def claim_options(self, name: bytes, batch_id: str) -> bool:
        """Only those of the owner of the batch file; a link of his is moved too, and found unusable later."""
        wanted = options_name(name)
        if len(wanted) > NAME_BYTES_MAX:
            return False
        with disk.opened_directory(batch_id, self.layout.processing) as place:
            with disk.opened_directory("orig", place) as orig:
                owner = disk.owner_of(name, orig)
            if not self._is_options(wanted, owner):
                return False
            failpoints.reach("options.begun")
            try:
                return self._moved(wanted, place, owner)
            except NotUsableError as error:
                logger.bind(event="options_left", batch_id=batch_id).warning(
                    "the options of {} are left out: {}", batch_id, error.message
                )
                return False

    def _moved_into(self, name: bytes, batch_id: str) -> bool:
        with disk.opened_directory(batch_id, self.layout.processing) as place:
            failpoints.reach("claim.directory_made")
            with contextlib.suppress(FileExistsError):
                os.mkdir("orig", self.layout.directory_mode, dir_fd=place)
            failpoints.reach("claim.orig_made")
            os.fsync(place)
            os.fsync(self.layout.processing)
            failpoints.reach("claim.place_synced")
            return self._moved(name, place, None)

    def _moved(self, name: bytes, place: int, owner: int | None) -> bool:
        """`owner`: options of this user's are wanted, and nobody else's."""
        with disk.opened_directory("orig", place) as orig:
            if not self._renamed(name, orig):
                return False
            failpoints.reach("claim.renamed")
            found = disk.looked_at(name, orig)
            reason = _odd(found, owner)
            if reason:
                self._give_back(name, orig)
                raise NotUsableError(reason)
            os.fsync(orig)
            failpoints.reach("claim.orig_synced")
        os.fsync(self.layout.inbox)
        return True

    def _renamed(self, name: bytes, orig: int) -> bool:
        try:
            disk.rename_new(name, self.layout.inbox, name, orig)
        except (FileNotFoundError, FileExistsError):
            return False
        except OSError as error:
            if error.errno not in _STRANGERS_FAULT:
                raise
            raise NotUsableError(
                f"it cannot be moved out of the inbox ({error.strerror}): hand in a plain file of your own"
            ) from error
        return True

    def _give_back(self, name: bytes, orig: int) -> None:
        """Not synced: after a power cut it may lie in orig/, and then its batch fails."""
        for target in (name, b".returned-" + secrets.token_hex(8).encode()):
            try:
                disk.rename_new(name, orig, target, self.layout.inbox)
            except FileExistsError:
                continue
            except OSError as error:
                logger.bind(event="not_returned").warning(
                    "{} was no file and cannot be put back: {}", printable(os.fsdecode(name)), error.strerror
                )
            return

    def _undo(self, batch_id: str) -> None:
        processing = self.layout.processing
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(f"{batch_id}/orig", dir_fd=processing)
            os.rmdir(batch_id, dir_fd=processing)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Its own parent is ours, so this rename is never refused.
            disk.rename_new(batch_id, processing, f".aside-{batch_id}-{secrets.token_hex(4)}", processing)

    def _is_options(self, wanted: bytes, owner: int | None) -> bool:
        """Before they are moved: what is another's, or no file at all, stays where it is."""
        try:
            found = disk.looked_at(wanted, self.layout.inbox)
        except OSError as error:
            if error.errno not in _STRANGERS_FAULT | {errno.ENOENT}:
                raise
            return False
        if owner is not None and found.st_uid != owner:
            logger.bind(event="options_foreign").warning(
                "{} is ignored: it belongs to another user than its batch file",
                printable(os.fsdecode(wanted)),
            )
            return False
        return stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)


def _odd(found: os.stat_result, owner: int | None) -> str:
    """Why what was moved must go back; empty when it is ours now."""
    if owner is None:
        if not stat.S_ISREG(found.st_mode):
            return "it became something else than a plain file when it was claimed"
    elif found.st_uid != owner or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return "they became something else when they were claimed"
    return ""
