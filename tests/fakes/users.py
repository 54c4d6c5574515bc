"""Users of one machine: a daemon, members of its submit group, and a stranger, made by the test itself.

SUMMARY
    They are numbers that no account has; nothing is added to the machine. `acting_as` lends this process the
    rights of one of them (and takes root's away) for a block; `Other` is a process of another's, which does
    what it is told, so that two of them can be at it at the same moment. Both need root.

    `shared_spool` lays a spool out as the service's own tmpfiles snippet does, with these users.

DIAGNOSTICS
    AssertionError with the traceback of the other process when what it was told failed there.
"""

import contextlib
import encodings.ascii  # noqa: F401  # else read at first use, from where perhaps only root may read
import os
import pickle
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchd.edges.spool.disk import remove_tree

DAEMON, ALICE, MALLORY, STRANGER = 23_001, 23_002, 23_003, 23_004
SUBMIT_GROUP = 23_100
_GROUPS = {
    0: list[int](),
    DAEMON: [SUBMIT_GROUP],
    ALICE: [SUBMIT_GROUP],
    MALLORY: [SUBMIT_GROUP],
    STRANGER: list[int](),
}

#: Trees of ten thousand levels are made and deleted in a second there.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

TMPFILES = Path(__file__).parents[2] / "systemd" / "batchd.tmpfiles"
_IDS = {"batchd": DAEMON, "batchd-submit": SUBMIT_GROUP, "-": 0}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it acts as several users")


@contextlib.contextmanager
def acting_as(user: int) -> Iterator[None]:
    """With the rights of `user`, and no others."""
    groups, mask = os.getgroups(), os.umask(0o027)
    os.setgroups(_GROUPS[user])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(mask)


class Other:
    """A process of `user`. `do` has it call a function and waits for that."""

    def __init__(self, user: int) -> None:
        self._user = user
        self._asks, asked = os.pipe()
        answers, self._answers = os.pipe()
        asks, self._asks = self._asks, asked
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child touches no thread and no lock
            self.pid = os.fork()
        if self.pid == 0:
            os.close(self._asks)
            os.close(answers)
            _serve(user, asks, self._answers)
        os.close(asks)
        os.close(self._answers)
        self._in, self._out = os.fdopen(self._asks, "wb"), os.fdopen(answers, "rb")

    def do(self, function: Callable[..., object], *arguments: object) -> None:
        """Call it there. It must be found by name: a function of a module, no closure."""
        pickle.dump((function, arguments), self._in)
        self._in.flush()
        try:
            trouble = pickle.load(self._out)  # from our own child
        except EOFError:
            trouble = f"the process of user {self._user} ended in {function.__name__}{arguments}"
        assert not trouble, trouble

    def close(self) -> None:
        """End it."""
        self._in.close()
        self._out.close()
        os.waitpid(self.pid, 0)


def _serve(user: int, asks: int, answers: int) -> None:
    try:
        os.setgroups(_GROUPS[user])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.umask(0o027)
        with os.fdopen(asks, "rb") as source, os.fdopen(answers, "wb") as target:
            while True:
                try:
                    function, arguments = pickle.load(source)  # from our own parent
                except EOFError:
                    break
                trouble = ""
                try:
                    function(*arguments)
                except BaseException:  # noqa: BLE001  # it is told to the parent
                    trouble = traceback.format_exc()
                pickle.dump(trouble, target)
                target.flush()
    finally:
        os._exit(0)


@contextlib.contextmanager
def another(user: int) -> Iterator[Other]:
    other = Other(user)
    try:
        yield other
    finally:
        other.close()


@contextlib.contextmanager
def shared_spool() -> Iterator[Path]:
    """Owners and modes as in systemd/batchd.tmpfiles, in a directory that everybody may pass."""
    place = Path(tempfile.mkdtemp(prefix="batchd-users-", dir=MEMORY))
    try:
        place.chmod(0o755)
        root = place / "spool"
        for line in TMPFILES.read_text(encoding="utf-8").splitlines():
            if line.startswith("d /var/spool/batchd"):
                _, path, mode, owner, group, _ = re.split(r"\s+", line.strip())
                made = root / path.removeprefix("/var/spool/batchd").lstrip("/")
                made.mkdir()
                os.chown(made, _IDS[owner], _IDS[group])
                made.chmod(int(mode, 8))
        yield root
    finally:
        above = os.open(place.parent, os.O_RDONLY)
        remove_tree(place.name, above)  # the library's own deletion ends at a depth of a thousand
        os.close(above)
