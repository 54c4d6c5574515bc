"""Sockets that listen, as the kernel lists them in `/proc/net/tcp` and `/proc/net/tcp6`.

SUMMARY
    `listeners` reads such a table, `taking` says which of them take a connection to an address.

DIAGNOSTICS
    None: a line that is torn, or of another form, is no listener.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_LISTENS = "0A"

#: Listeners stand before connections in these tables, so that a reader may stop at the first other line.
_FIELDS_MIN = 10


@dataclass(frozen=True, slots=True)
class Listener:
    """`uid`: the user who made the socket. `inode`: its number among all sockets, unique while it lives."""

    ip: IPv4Address | IPv6Address
    port: int
    uid: int
    inode: int


def listeners(table: Iterable[str]) -> Iterator[Listener]:
    """`0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 41 1 ...`."""
    for line in table:
        fields = line.split()
        if len(fields) < _FIELDS_MIN or not fields[0].endswith(":"):
            continue  # the heading
        if fields[3] != _LISTENS:
            return
        host, _, port = fields[1].partition(":")
        try:
            yield Listener(_address(host), int(port, 16), int(fields[7]), int(fields[9]))
        except ValueError:
            continue


def taking(ips: Iterable[IPv4Address | IPv6Address], port: int, found: Iterable[Listener]) -> list[Listener]:
    """Those that a connection to one of these addresses may reach."""
    wanted = {_plain(ip) for ip in ips}
    # One of IPv6 that listens at all addresses takes connections to those of IPv4 too, as a rule.
    any_of = {IPv4Address(0), IPv6Address(0)} if any(ip.version == 4 for ip in wanted) else {IPv6Address(0)}
    return [item for item in found if item.port == port and _plain(item.ip) in wanted | any_of]


def _address(text: str) -> IPv4Address | IPv6Address:
    """Words of four bytes, each in the order of this machine, which is little-endian wherever we run."""
    raw = bytes.fromhex(text)
    packed = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address inside an IPv6 one is that address."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
