"""What a hostile member of the submit group does to a name, at any moment he likes.

SUMMARY
    `ACTS` by name: each is called in a process of his own, with the inbox and the name that is just being
    claimed, his or another's. What the kernel refuses him is no error here. `bait` puts a good file of his
    there, `sweep_up` takes away what is left of his.

    `drop` is what an honest member does: `batchd submit`.

DIAGNOSTICS
    None: who acts is told by the kernel alone.
"""

import contextlib
import fcntl
import os
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from batchd.edges.plain import read_plain
from batchd.edges.spool import submit_file
from batchd.edges.spool.disk import remove_tree

#: Deeper than Python's recursion, and than the number of files that a process may hold.
LEVELS = 1_100

_HELD: list[int] = []


def bait(inbox: Path, name: str, content: bytes) -> None:
    _let_go()
    (inbox / name).write_bytes(content)
    _HELD.append(os.open(inbox / name, os.O_RDWR))


def drop(root: Path, source: Path, name: str, content: bytes, options: dict[str, object]) -> None:
    source.write_bytes(content)
    submit_file(root, source, name, options)
    source.unlink()


def sweep_up(inbox: Path) -> None:
    """What he can. A directory that others may write is his all the same."""
    _let_go()
    there = os.open(inbox, os.O_RDONLY)
    for path in inbox.iterdir():
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
                remove_tree(path.name, there)  # the library's own ends at a depth of a thousand
            else:
                path.unlink()
    os.close(there)


def harm(act: str, inbox: Path, name: str) -> None:
    """One act."""
    with contextlib.suppress(OSError):
        ACTS[act](inbox, name)


def _let_go() -> None:
    while _HELD:
        os.close(_HELD.pop())


def _away(inbox: Path, name: str) -> Path:
    """What is under the name makes room, if he may move it."""
    path = inbox / name
    with contextlib.suppress(FileNotFoundError):
        path.rename(inbox / f".gone-{secrets.token_hex(8)}")
    return path


def _directory(inbox: Path, name: str) -> None:
    _away(inbox, name).mkdir()


def _open_directory(inbox: Path, name: str) -> None:
    path = _away(inbox, name)
    path.mkdir()
    (path / "a.jsonl").write_bytes(b"{}\n")
    path.chmod(0o777)
    _HELD.append(os.open(path, os.O_RDONLY))


def _nail_down(inbox: Path, name: str) -> None:
    """Of what he has opened: it can be moved no more."""
    for fd in _HELD:
        os.fchmod(fd, 0o700)


def _deep_directory(inbox: Path, name: str) -> None:
    path = _away(inbox, name)
    path.mkdir()
    path.chmod(0o777)
    fd = os.open(path, os.O_RDONLY)
    for _ in range(LEVELS):
        os.mkdir("d", dir_fd=fd)
        fd, before = os.open("d", os.O_RDONLY, dir_fd=fd), fd
        os.close(before)
    os.close(fd)


def _link(inbox: Path, name: str) -> None:
    _away(inbox, name).symlink_to("/etc/passwd")


def _loop(inbox: Path, name: str) -> None:
    _away(inbox, name).symlink_to(name)


def _fifo(inbox: Path, name: str) -> None:
    os.mkfifo(_away(inbox, name))


def _socket(inbox: Path, name: str) -> None:
    path = _away(inbox, name)
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


def _another_file(inbox: Path, name: str) -> None:
    hidden = inbox / f".new-{secrets.token_hex(8)}"
    hidden.write_bytes(b"swapped\n")
    hidden.replace(inbox / name)


def _second_name(inbox: Path, name: str) -> None:
    os.link(inbox / name, inbox / f".second-{secrets.token_hex(8)}")


def _unreadable(inbox: Path, name: str) -> None:
    (inbox / name).chmod(0)
    for fd in _HELD:
        os.fchmod(fd, 0)


def _write(inbox: Path, name: str) -> None:
    for fd in _HELD:
        os.write(fd, b"#" * 100)
    # It may be a pipe by now, and he waits for no reader.
    fd = os.open(inbox / name, os.O_WRONLY | os.O_NONBLOCK | os.O_TRUNC)
    os.write(fd, b"overwritten\n")
    os.close(fd)


def _truncate(inbox: Path, name: str) -> None:
    for fd in _HELD:
        os.ftruncate(fd, 0)


def _lease(inbox: Path, name: str) -> None:
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for fd in _HELD:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def _unlink(inbox: Path, name: str) -> None:
    (inbox / name).unlink()


def _options(inbox: Path, name: str) -> None:
    # He may have put a link to a device there himself, which has no end.
    stolen = read_plain(inbox / name.replace(".jsonl", ".options.json"), 1 << 20)
    (inbox / f"first-{name}".replace(".jsonl", ".options.json")).write_bytes(stolen)
    (inbox / f"first-{name}").write_bytes(b"his own\n")


def _bad_options(inbox: Path, name: str) -> None:
    (inbox / name.replace(".jsonl", ".options.json")).write_bytes(b'{"unknown": 1}')


def _odd_options(inbox: Path, name: str) -> None:
    (inbox / name.replace(".jsonl", ".options.json")).mkdir()


def _linked_options(inbox: Path, name: str) -> None:
    (inbox / name.replace(".jsonl", ".options.json")).symlink_to("/dev/zero")


ACTS: dict[str, Callable[[Path, str], None]] = {
    "directory": _directory,
    "open directory": _open_directory,
    "nail down": _nail_down,
    "deep directory": _deep_directory,
    "link": _link,
    "loop": _loop,
    "fifo": _fifo,
    "socket": _socket,
    "another file": _another_file,
    "second name": _second_name,
    "unreadable": _unreadable,
    "write": _write,
    "truncate": _truncate,
    "lease": _lease,
    "unlink": _unlink,
    "stolen id": _options,
    "bad options": _bad_options,
    "odd options": _odd_options,
    "linked options": _linked_options,
}
