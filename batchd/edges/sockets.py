"""Sockets: who listens on this machine, and whether it is a child of ours.

SUMMARY
    held_by      the TCP listeners of a process and of its children, each with the descriptor that holds it
    Held         one of them; `is_there` as long as that very socket is held
    Whose        the listeners at an address, their users, and whether only one user may be among them

    A port is a number that anybody may take when it is free, and an address says nothing of who answers. A
    socket cannot be another's: it is known by its inode.

DIAGNOSTICS
    None: what cannot be read is nobody's socket.
"""

import asyncio
import contextlib
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from batchd.core.fault import Category, ModelFault
from batchd.core.sockets import Listener, listeners, taking

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

#: Listeners that are looked through, in each table: anybody may open some thousands.
_LISTENERS_MAX = 50_000

#: Processes of one child, and descriptors of a process, that are looked through.
_PROCESSES_MAX = 64
_DESCRIPTORS_MAX = 4_096

#: In place of the sockets, where nobody is refused.
_ANYBODY = frozenset({0})

_LOOPBACK: tuple[IPv4Address | IPv6Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class Held:
    """A listening socket of a child of ours. `address` begins with `http://`."""

    address: str
    fd: Path
    link: Path

    def is_there(self) -> bool:
        """Whether the child holds that very socket still: from the moment it was seen until now, nobody else
        can have listened at its address. One system call."""
        try:
            return self.fd.readlink() == self.link
        except OSError:
            return False

    async def look(self) -> frozenset[int] | ModelFault:
        """For each new connection: its inode, or why what answers is not to be believed."""
        if self.is_there():
            return frozenset({int(self.link.name[len("socket:[") : -1])})
        message = f"Our own server does not listen at {self.address} any more."
        return ModelFault(Category.NETWORK, message, is_temporary=True, is_server_lost=True)


def held_by(pid: int) -> list[Held]:
    """Those of this process first, then those of its children. Reads only what is our user's."""
    listening = {Path(f"socket:[{item.inode}]"): item for item in _all()}
    return [
        Held(_url(listening[link]), fd, link)
        for process in islice(_family(pid), _PROCESSES_MAX)
        for fd, link in _descriptors(process)
        if link in listening
    ]


class Whose:
    """Who listens at an address of this machine. `user`: the only one that is believed; None: any."""

    def __init__(self, address: str, user: str | None = None) -> None:
        self._address = address
        self._user = user

    def __repr__(self) -> str:
        return f"<Whose {self._address}: {self._user or 'anybody'}>"

    async def users(self) -> list[str]:
        """The names of those who listen there; none where that is not seen from here."""
        found = await asyncio.to_thread(listening_at, self._address)
        return sorted({user_name(item.uid) for item in found})

    async def look(self) -> frozenset[int] | ModelFault:
        """The sockets that take a connection now, or why none of them is to be believed. Empty: none is seen,
        because none is there, or because it is behind another machine's or a container's door."""
        if self._user is None:
            return _ANYBODY
        found = await asyncio.to_thread(listening_at, self._address)
        users = sorted({user_name(item.uid) for item in found})
        if users not in ([], [self._user]):
            message = (
                f"At {self._address} listens a server of user {' and of '.join(users)}, and ollama.user is "
                f"'{self._user}': it is sent nothing."
            )
            return ModelFault(
                Category.NETWORK, message, is_temporary=True, is_server_lost=True, needs_operator=True
            )
        return frozenset(item.inode for item in found)


def listening_at(address: str) -> list[Listener]:
    """What a connection to this address of this machine may reach. Blocks for some milliseconds."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return taking(_ips(parts.hostname or "localhost"), port, _all())


def user_name(number: int) -> str:
    """The name, or the number of a user without one."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def is_user(name: str) -> bool:
    """Whether somebody on this machine is called so."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _ips(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    try:
        ip = ip_address(host)
    except ValueError:
        return _LOOPBACK
    return _LOOPBACK if ip.is_unspecified else (ip,)


def _all() -> Iterator[Listener]:
    for table in _TABLES:
        try:
            with table.open(encoding="ascii", errors="replace") as lines:
                yield from islice(listeners(lines), _LISTENERS_MAX)
        except OSError:
            continue  # a machine without IPv6 has no such table


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        process = waiting.pop(0)
        yield process
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        except OSError:
            continue
        waiting += [int(child) for child in children.split()[:_PROCESSES_MAX]]


def _descriptors(pid: int) -> Iterator[tuple[Path, Path]]:
    """Each, and what it is."""
    try:
        for fd in islice(Path(f"/proc/{pid}/fd").iterdir(), _DESCRIPTORS_MAX):
            with contextlib.suppress(OSError):  # closed meanwhile
                yield fd, fd.readlink()
    except OSError:
        return  # ended, or another user's


def _url(item: Listener) -> str:
    ip = item.ip if not item.ip.is_unspecified else _LOOPBACK[item.ip.version == 6]
    return f"http://[{ip}]:{item.port}" if ip.version == 6 else f"http://{ip}:{item.port}"
