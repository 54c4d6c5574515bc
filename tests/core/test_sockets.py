"""The kernel's tables of sockets, as they are written on this kind of machine."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.sockets import Listener, listeners, taking

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000"
TCP = f"""{HEAD}\
   0: 0100007F:2CAA 00000000:0000 0A {REST}   998        0 4100 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A {REST}     0        0 4200 1 0000000000000000 100 0 0 10 0
   2: 0100007F:2CAA 0100007F:9C40 01 {REST}   998        0 4300 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:2CAB 00000000:0000 0A {REST}  1000        0 4400 1 0000000000000000 100 0 0 10 0
"""
TCP6 = f"""{HEAD}\
   0: 00000000000000000000000000000000:2CAA 00000000000000000000000000000000:0000 0A {REST} 33 0 51 1 0
   1: 00000000000000000000000001000000:2CAA 00000000000000000000000000000000:0000 0A {REST} 34 0 52 1 0
   2: 0000000000000000FFFF00000100007F:2CAA 00000000000000000000000000000000:0000 0A {REST} 35 0 53 1 0
"""

LOOPBACK, LOOPBACK6 = IPv4Address("127.0.0.1"), IPv6Address("::1")
OLLAMA = Listener(LOOPBACK, 11434, 998, 4100)
SSH = Listener(IPv4Address(0), 22, 0, 4200)
ANY6, OWN6, MAPPED = (Listener(ip, 11434, uid, inode) for ip, uid, inode in (
    (IPv6Address("::"), 33, 51), (LOOPBACK6, 34, 52), (IPv6Address("::ffff:127.0.0.1"), 35, 53)
))  # fmt: skip


def test_listeners_are_read_with_their_users_and_inodes() -> None:
    assert list(listeners(TCP.splitlines())) == [OLLAMA, SSH]  # they stand before the connections
    assert list(listeners(TCP6.splitlines())) == [ANY6, OWN6, MAPPED]


def test_who_may_take_a_connection_is_everybody_who_listens_for_that_address() -> None:
    found = [OLLAMA, SSH, ANY6, OWN6, MAPPED]
    assert taking([LOOPBACK], 11434, found) == [OLLAMA, ANY6, MAPPED]
    assert taking([LOOPBACK6], 11434, found) == [ANY6, OWN6]
    assert taking([IPv4Address("10.0.0.1")], 22, found) == [SSH]
    assert taking([LOOPBACK6], 22, found) == []
    assert taking([LOOPBACK], 11435, found) == []


@given(st.lists(st.text(max_size=80) | st.sampled_from(TCP.splitlines() + TCP6.splitlines())))
def test_no_line_is_fatal(lines: list[str]) -> None:
    for item in listeners(lines):
        assert item.inode >= 0
