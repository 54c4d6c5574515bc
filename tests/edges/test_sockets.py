"""Whose socket it is, on the real kernel."""

import contextlib
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from batchd.core.fault import ModelFault
from batchd.edges.sockets import Whose, held_by, is_user, listening_at, user_name

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the socket must be another user's")

#: Listens, or starts a child that does, and says where.
CHILD = """
import socket, subprocess, sys
if sys.argv[1] == "wrapped":
    sys.exit(subprocess.call([sys.executable, "-c", sys.argv[2], "plain", ""]))
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
listener.close()
print("closed", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def child(how: str) -> Iterator[tuple[int, str, "subprocess.Popen[bytes]"]]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, how, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}", process
        process.kill()


@pytest.mark.parametrize("how", ["plain", "wrapped"])
def test_the_listener_of_a_child_is_found_and_known_by_its_socket(how: str) -> None:
    with child(how) as (pid, address, process):
        [held] = held_by(pid)
        assert held.address == address
        assert held.is_there()
        assert process.stdin is not None
    if how == "plain":
        assert not held.is_there()


async def test_after_a_death_whoever_takes_the_port_is_not_the_child() -> None:
    with child("plain") as (pid, address, _):
        [held] = held_by(pid)
        assert await held.look() == frozenset(item.inode for item in listening_at(address))
    port = int(address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert listening_at(address)
        assert not held.is_there()
        fault = await held.look()
        assert isinstance(fault, ModelFault)
        assert (fault.is_server_lost, fault.needs_operator) == (True, False)
    assert held_by(pid) == []


def test_what_we_listen_on_ourselves_is_no_childs() -> None:
    with child("plain") as (pid, _, _), socket.create_server(("127.0.0.1", 0)) as ours:
        assert str(ours.getsockname()[1]) not in {item.address.rpartition(":")[2] for item in held_by(pid)}


def test_every_address_of_a_listener_has_a_url() -> None:
    for family, host, shown in (
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "::", "[::1]"),
        (socket.AF_INET6, "::1", "[::1]"),
    ):
        with socket.create_server((host, 0), family=family) as listener:
            port = listener.getsockname()[1]
            assert f"http://{shown}:{port}" in [item.address for item in held_by(os.getpid())]


async def test_as_whom_a_server_runs_is_read_and_others_are_refused() -> None:
    me = user_name(os.geteuid())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert await Whose(address).users() == [me]
        assert await Whose(address, me).look() == frozenset({inode})
        assert await Whose(address).look() == frozenset({0})  # anybody
        assert await Whose(address.replace("127.0.0.1", "localhost"), me).look() == frozenset({inode})
        fault = await Whose(address, "ollama").look()
    assert isinstance(fault, ModelFault)
    assert fault.needs_operator
    assert fault.message == (
        f"At {address} listens a server of user {me}, and ollama.user is 'ollama': it is sent nothing."
    )
    assert await Whose(address, "ollama").look() == frozenset()  # nobody listens: to be waited for
    assert repr(Whose(address, me)) == f"<Whose {address}: {me}>"


@needs_root
async def test_the_user_is_whose_socket_it_is() -> None:
    os.seteuid(NOBODY)
    try:
        listener = socket.create_server(("127.0.0.1", 0))
    finally:
        os.seteuid(0)
    with listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert await Whose(address).users() == ["nobody"]
        assert isinstance(await Whose(address, "root").look(), ModelFault)


def test_users_are_known_by_name() -> None:
    assert is_user(pwd.getpwuid(os.geteuid()).pw_name)
    assert not is_user("nobody of this name")
    assert user_name(2**31 - 7) == str(2**31 - 7)
