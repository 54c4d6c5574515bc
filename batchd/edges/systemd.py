"""systemd's notify socket: ready, one status line, reloading, stopping, and the watchdog's ping.

SUMMARY
    sdnotify finds the socket in NOTIFY_SOCKET by itself; the settings hand in the same value, and None means
    that nobody listens. Three of sdnotify's traps are closed here: a text that is not Latin-1 would be lost
    without a word, so the UTF-8 bytes are handed over one character each; a newline would begin another
    assignment (`MAINPID=1`), so the line is made printable; and a slow systemd would block us, so only
    READY=1, which must not be lost, may wait.

DIAGNOSTICS
    Warning: a message that could not be sent is counted in `lost`; the first one is logged.
"""

import os
import socket
import warnings

from loguru import logger
from sdnotify import SystemdNotifier

from batchd.core.text import printable

#: READY=1 decides whether the start succeeded; systemd's own start limit is 90 s.
_READY_WAIT_S = 5.0

#: A datagram must fit the socket's buffer, and nobody reads a longer line in `systemctl status`.
_STATUS_CHARS_MAX = 500

#: After the drain: unloading the model takes up to 20 s, closing a journal on a slow disk up to 25 s.
_LEAVE_S = 60.0


class Systemd:
    """The port `ServiceManager`. Values are those of the environment, as the settings read them."""

    def __init__(
        self,
        notify_socket: str | None,
        watchdog_usec: str | None = None,
        watchdog_pid: str | None = None,
    ) -> None:
        self.lost = 0
        self._notifier = _connected() if notify_socket else None
        if notify_socket and self._notifier is None:
            self._count_lost("NOTIFY_SOCKET cannot be reached")
        self._has_watchdog = _has_watchdog(watchdog_usec, watchdog_pid)

    def __repr__(self) -> str:
        return f"Systemd(listens={self._notifier is not None}, lost={self.lost})"

    def ready(self) -> None:
        self._send("READY=1", _READY_WAIT_S)

    def status(self, line: str) -> None:
        self._send(f"STATUS={printable(line)[:_STATUS_CHARS_MAX]}")

    def reloading(self, monotonic_s: float) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1_000_000)}", _READY_WAIT_S)

    def stopping(self, drain_s: float) -> None:
        self._send("STOPPING=1")
        # The operator may allow a longer drain than the unit's TimeoutStopSec= knows of.
        self._send(f"EXTEND_TIMEOUT_USEC={int((drain_s + _LEAVE_S) * 1_000_000)}")

    def ping(self) -> None:
        if self._has_watchdog:
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """After this nothing is sent any more."""
        if self._notifier is not None:
            self._notifier.socket.close()
            self._notifier = None

    def _send(self, state: str, wait_s: float = 0.0) -> None:
        if self._notifier is None:
            return
        self._notifier.socket.settimeout(wait_s)
        try:
            self._notifier.notify(state.encode().decode("latin-1"))
        except OSError as error:
            self._count_lost(error.strerror or str(error))

    def _count_lost(self, reason: str) -> None:
        self.lost += 1
        if self.lost == 1:
            logger.bind(event="notify_lost").warning("systemd did not take a message: {}", reason)


def _connected() -> SystemdNotifier | None:
    with warnings.catch_warnings():
        # When it cannot connect it drops its socket without closing it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            notifier = SystemdNotifier(debug=True)  # without `debug` it swallows every error
        except (OSError, TypeError, IndexError):  # the last two: the variable is unset, or empty
            return None
    assert isinstance(notifier.socket, socket.socket)
    return notifier


def _has_watchdog(usec: str | None, pid: str | None) -> bool:
    """Whether systemd wants pings, and from this process: the variables are inherited by children."""
    return usec is not None and usec.isdecimal() and int(usec) > 0 and pid in (None, str(os.getpid()))
