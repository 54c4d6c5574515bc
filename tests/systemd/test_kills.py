"""The service is killed, hangs, is stopped: systemd starts it again, and it goes on where it was.

DIAGNOSTICS
    None: tests.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from batchd.daemon.ledger import UNACKNOWLEDGED_MAX
from tests.systemd.machine import ROOT
from tests.systemd.service import Service, batch
from tests.systemd.test_service import STARTED

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

SLOTS = 2

#: A kill loses what is in flight, and answers whose commit is on its way: a few, with ten answers a second.
LOST_MAX = 3 * SLOTS


def begun(service: Service, name: str, count: int, answers: int = 6) -> None:
    """A batch at work, with some of its answers durable."""
    service.drop("alice", f"{name}.jsonl", batch(name, count))
    service.wait_until(lambda: len(service.asked(name)) > answers, f"requests of {name}")
    # The first answers wait for what the journal of the server tells of them, until it is known to be silent.
    service.wait_until(lambda: bool(service.durable(name)), f"answers of {name}")


def stands_still(service: Service, name: str) -> bool:
    """No request came for a second: ten times what one takes."""
    before = sum(service.asked(name).values())
    time.sleep(1)
    return sum(service.asked(name).values()) == before


def finished(
    service: Service, name: str, count: int, durable: Sequence[str] = (), again: int = SLOTS
) -> None:
    """Everything answered once, in order; asked again were at most so many, and nothing that was durable."""
    assert service.answered(name) == [f"{name}-{number}" for number in range(count)]
    asked = service.asked(name)
    assert len(asked) == count
    assert sum(asked.values()) <= count + again
    assert [asked[custom_id.replace("-", " ")] for custom_id in durable] == [1] * len(durable)


def test_a_killed_daemon_is_started_again_and_resumes(service: Service) -> None:
    begun(service, "killed", 60)
    before, restarts, durable = service.now(), service.restarts(), service.durable("killed")
    assert durable
    service.machine.call(f"kill -KILL {service.pid()}")
    service.wait_until(lambda: service.restarts() > restarts and service.is_active(), "the restart")
    assert service.published("killed") == [], "it ended before the kill: no proof"
    finished(service, "killed", 60, durable, again=LOST_MAX)
    recovered = service.entries("EVENT=recovery", after=before)
    (ready,) = service.entries("EVENT=state", "STATE=ready", after=before)
    started = [
        entry
        for entry in service.entries(after=before)
        if entry.get("MESSAGE_ID") == STARTED and entry.get("UNIT") == "batchd.service"
    ]
    moments = [int(entry["__MONOTONIC_TIMESTAMP"]) for entry in (*recovered, ready, *started)]
    assert len(recovered) == len(started) == 1
    assert moments == sorted(moments), "READY=1 comes after recovery"


def test_a_stopped_event_loop_is_noticed_by_the_watchdog(service: Service) -> None:
    begun(service, "stopped", 80)
    before, restarts, durable = service.now(), service.restarts(), service.durable("stopped")
    assert durable
    service.machine.call(f"kill -STOP {service.pid()}")
    service.wait_until(lambda: service.restarts() > restarts and service.is_active(), "the watchdog")
    assert "Watchdog timeout" in service.messages(after=before)
    finished(service, "stopped", 80, durable, again=LOST_MAX)


@contextmanager
def frozen_but_for_the_event_loop(pid: int) -> Iterator[None]:
    """Every thread of the process but its first one stands still, until the process dies."""
    tracer = subprocess.Popen(
        [sys.executable, "-m", "tests.systemd.freeze", str(pid)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert tracer.stdout is not None
    try:
        assert tracer.stdout.readline().startswith(b"frozen")
        yield
    finally:
        tracer.kill()
        tracer.wait(10)
        tracer.stdout.close()


def test_a_journal_thread_that_hangs_is_noticed_though_the_event_loop_moves(service: Service) -> None:
    begun(service, "frozen", 100)
    before, restarts = service.now(), service.restarts()
    with frozen_but_for_the_event_loop(service.machine.host_pid(service.pid())):
        frozen_at = service.status_json()["written_at"]
        durable = service.durable("frozen")
        service.wait_until(lambda: service.restarts() > restarts and service.is_active(), "the watchdog")
    assert "Watchdog timeout" in service.messages(after=before)
    stands = service.entries("EVENT=journal_stands", after=before)
    assert [entry["BATCH_ID"] for entry in stands]
    assert int(stands[0]["__REALTIME_TIMESTAMP"]) / 1e6 > frozen_at, "the event loop went on, and said so"
    # The event loop goes on with what it holds, so that more answers than those in flight find no disk.
    finished(service, "frozen", 100, durable, again=UNACKNOWLEDGED_MAX)


def test_a_stop_drains_within_its_limit_and_leaves_the_rest_for_the_next_start(service: Service) -> None:
    service.configure("slots = 2\ndrain_s = 3\n")
    service.restart()
    begun(service, "drained", 60)
    for _ in range(SLOTS):
        service.fault(kind="delay", number=25)
    service.wait_until(lambda: stands_still(service, "drained"), "slow requests")
    began = time.perf_counter()
    service.machine.call("systemctl stop batchd")
    took_s = time.perf_counter() - began
    assert 2.5 < took_s < 20, "it waits for what runs, and no longer than it may"
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")
    assert service.published("drained") == []
    service.restart()
    finished(service, "drained", 60)


def test_a_drain_that_is_longer_than_the_units_limit_is_granted(service: Service) -> None:
    service.configure("slots = 2\ndrain_s = 8\n")
    service.drop_in("hasty", "[Service]\nTimeoutStopSec=3\n")
    service.restart()
    begun(service, "granted", 40)
    for _ in range(SLOTS):
        service.fault(kind="delay", number=25)
    service.wait_until(lambda: stands_still(service, "granted"), "slow requests")
    service.machine.call("systemctl stop batchd")
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0"), (
        "not killed after 3 s"
    )
    service.drop_in("hasty", None)
    service.restart()
    finished(service, "granted", 40)


def test_a_stop_lets_short_requests_end_and_asks_none_twice(service: Service) -> None:
    begun(service, "quick", 60)
    service.machine.call("systemctl stop batchd")
    assert service.show("Result") == "success"
    service.restart()
    finished(service, "quick", 60, again=0)
