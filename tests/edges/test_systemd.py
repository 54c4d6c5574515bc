"""What systemd hears, from a socket of the same kind.

DIAGNOSTICS
    None: tests.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.daemon.ports import ServiceManager
from batchd.edges.systemd import Systemd


class Listener:
    """The far end of the notify socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[bytes]:
        messages = []
        for _ in range(10_000):
            try:
                messages.append(self.socket.recv(65_536))
            except BlockingIOError:
                return messages
        raise AssertionError("more messages than anybody sent")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as place:  # short: such an address has at most 107 bytes
        path = f"{place}/notify"
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield path


@pytest.fixture
def listener(address: str) -> Iterator[Listener]:
    listener = Listener(address)
    yield listener
    listener.socket.close()


@pytest.fixture
def systemd(listener: Listener, address: str) -> Iterator[Systemd]:
    systemd = Systemd(address, "120000000", str(os.getpid()))
    yield systemd
    systemd.close()


def test_each_message_is_said_in_systemds_words(systemd: Systemd, listener: Listener) -> None:
    systemd.ready()
    systemd.status("2 batches, 170 of 1,000 requests")
    systemd.ping()
    systemd.reloading(12.5)
    systemd.stopping(30.0)
    assert listener.heard() == [
        b"READY=1",
        b"STATUS=2 batches, 170 of 1,000 requests",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=12500000",
        b"STOPPING=1",
        b"EXTEND_TIMEOUT_USEC=90000000",
    ]
    assert systemd.lost == 0


@pytest.mark.parametrize("line", ["café", "готово", "日本", "👩"])
def test_a_status_arrives_as_utf8_whatever_the_letters(
    systemd: Systemd, listener: Listener, line: str
) -> None:
    systemd.status(line)
    assert listener.heard() == [f"STATUS={line}".encode()]


def test_a_status_cannot_smuggle_another_message(systemd: Systemd, listener: Listener) -> None:
    systemd.status("a.jsonl\nMAINPID=1\nWATCHDOG=trigger\r\x85\u2028\udcff")
    (message,) = listener.heard()
    assert message.count(b"\n") == 0
    assert message.startswith(b"STATUS=a.jsonl\\x0aMAINPID=1")


def test_a_status_is_never_longer_than_a_line(systemd: Systemd, listener: Listener) -> None:
    systemd.status("日" * 1_000_000)
    assert len(listener.heard()[0]) < 2_000


def test_a_service_manager_that_does_not_read_blocks_nobody(systemd: Systemd) -> None:
    for _ in range(100_000):
        systemd.ping()
        if systemd.lost:
            break
    assert systemd.lost == 1


def test_without_a_socket_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd = Systemd(None, "120000000", None)
    systemd.ready()
    systemd.status("a")
    systemd.close()
    assert systemd.lost == 0


def test_a_socket_that_nobody_made_is_counted_and_forgiven(address: str) -> None:
    systemd = Systemd(address, "120000000", None)
    systemd.ready()
    assert systemd.lost == 1


def test_a_listener_that_went_away_is_counted_and_forgiven(systemd: Systemd, listener: Listener) -> None:
    listener.socket.close()
    systemd.ping()
    systemd.ping()
    assert systemd.lost == 2


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"batchd-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    listener = Listener(f"\0{name}")
    systemd = Systemd(f"@{name}")
    systemd.ready()
    assert listener.heard() == [b"READY=1"]
    systemd.close()
    listener.socket.close()


def test_after_closing_nothing_is_said(systemd: Systemd, listener: Listener) -> None:
    systemd.close()
    systemd.ping()
    systemd.close()
    assert listener.heard() == []


@pytest.mark.parametrize(
    ("usec", "pid", "is_wanted"),
    [
        ("120000000", None, True),
        ("120000000", str(os.getpid()), True),
        ("120000000", "1", False),
        (None, None, False),
        ("0", None, False),
        ("soon", None, False),
    ],
)
def test_a_ping_is_sent_where_systemd_wants_one_from_this_process(
    listener: Listener, address: str, usec: str | None, pid: str | None, is_wanted: bool
) -> None:
    systemd = Systemd(address, usec, pid)
    systemd.ping()
    assert listener.heard() == ([b"WATCHDOG=1"] if is_wanted else [])
    systemd.close()


def test_the_variable_is_read_by_the_library_alone(listener: Listener, tmp_path: Path) -> None:
    systemd: ServiceManager = Systemd(None)
    systemd.ready()
    assert listener.heard() == []
