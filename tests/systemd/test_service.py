"""The service on a real systemd: installed by its page, used, and collected from.

DIAGNOSTICS
    None: tests.
"""

import json
import time

import pytest

from tests.systemd.page import BLOCKS, PAGE, blocks
from tests.systemd.service import SPOOL, Service, batch

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(1200)]

#: Of systemd's own measure, times ten.
EXPOSURE_MAX = 15

#: journald's id for "a unit was started" (systemd's message catalogue).
STARTED = "39f53479d3a045ac8e11786248231fbf"


def test_the_page_installs_a_service_that_says_when_it_is_ready(installed: Service) -> None:
    installed.drop_in("impatient", None)
    installed.restart()
    assert installed.is_active()
    assert installed.show("UnitFileState") == "enabled"
    assert (installed.show("Type"), installed.show("WatchdogUSec")) == ("notify", "2min")
    installed.wait_until(lambda: installed.show("StatusText") == "idle", "the status")
    assert "252" in installed.machine.call("systemctl --version")
    assert installed.entries("EVENT=state", "STATE=ready")


def test_what_a_person_types_for_health_works(service: Service) -> None:
    status, follow, shown = blocks()["health"]
    assert "Active: active (running)" in service.machine.call(status)
    assert "ready" in service.machine.call(f"timeout 3 {follow} --no-pager", is_well=False)
    assert service.machine.call(f"command -v {shown.split()[0]}").strip() == "/usr/local/bin/batchd"
    assert "ready" in service.machine.call(shown)


def test_systemd_has_no_complaint_about_the_unit(service: Service) -> None:
    said = service.machine.call("journalctl -b -q --no-pager -o cat _PID=1")
    complaints = [line for line in said.splitlines() if "batchd.service:" in line and "line" in line]
    assert "Unknown" not in said
    assert complaints == []


def test_the_sandbox_is_as_tight_as_the_unit_says(service: Service) -> None:
    service.machine.call(f"systemd-analyze security --threshold={EXPOSURE_MAX} --no-pager batchd.service")
    told = service.machine.call(f"cat /proc/{service.pid()}/status")
    status = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    lease = f"{1 << 28:016x}"
    assert (status["CapEff"], status["CapBnd"], status["CapAmb"]) == (lease, lease, lease)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_member_drops_a_file_and_reads_the_results_and_a_stranger_does_neither(service: Service) -> None:
    before = service.now()
    service.drop("alice", "reviews.jsonl", batch("reviews", 40))
    service.wait_until(lambda: "/40" in service.show("StatusText"), "counts in the status")
    assert "in_progress" in service.show("StatusText")
    result = service.result("reviews")
    assert service.answered("reviews") == [f"reviews-{number}" for number in range(40)]
    place = f"{SPOOL}/outbox/{result.name}"
    told = service.machine.call(f"stat -c '%U:%G %a' {place} {place}/output.jsonl").split("\n")
    assert told[:2] == ["batchd:batchd-submit 2750", "batchd:batchd-submit 640"]
    assert json.loads(service.machine.call(f"cat {place}/batch.json", "bob"))["status"] == "completed"
    assert "Permission denied" in service.machine.call(f"ls {SPOOL}/outbox", "mallory", is_well=False)
    assert "Permission denied" in service.machine.call(f"touch {SPOOL}/inbox/x", "mallory", is_well=False)
    assert service.messages("PRIORITY=4", after=before) == ""


def test_results_are_copied_by_a_member_and_taken_away_by_the_operator(service: Service) -> None:
    (copied,) = blocks()["copy"]
    taken, tidied = blocks()["collect"]
    service.drop("alice", "letters.jsonl", batch("letters", 3))
    name = service.result("letters").name
    service.machine.call(f"rm -rf results && {copied}", "bob", folder="/home/bob")
    assert len(service.machine.call(f"cat /home/bob/results/{name}/output.jsonl").splitlines()) == 3
    service.machine.call(taken, folder="/home")
    service.machine.call(tidied)
    assert service.machine.call(f"ls -A {SPOOL}/outbox") == ""
    assert len(service.machine.call(f"cat /home/results/{name}/output.jsonl").splitlines()) == 3
    service.drop("alice", "more.jsonl", batch("more", 2))
    assert len(service.answered("more")) == 2


def test_a_file_that_another_user_still_writes_is_not_claimed(service: Service) -> None:
    """The lease works across users: with CAP_LEASE, and not with less."""
    # Without the lease this time would decide alone.
    service.configure("slots = 2\nsettle_s = 1\n")
    service.restart()
    inbox, lines = f"{SPOOL}/inbox", batch("slow", 6).splitlines(keepends=True)
    for name, part in (("first", lines[:3]), ("rest", lines[3:])):
        service.machine.call(f"cat > /tmp/{name} && chmod 644 /tmp/{name}", given=b"".join(part))
    service.machine.call("rm -f /tmp/half /tmp/go-on")
    writing = (
        f"umask 027; exec 3> {inbox}/slow.jsonl; cat /tmp/first >&3; touch /tmp/half; "
        "while [ ! -e /tmp/go-on ]; do sleep 0.1; done; cat /tmp/rest >&3"
    )
    service.machine.call(f"systemd-run -q --uid=alice --gid=batchd-submit bash -c '{writing}'")
    service.wait_until(lambda: "half" in service.machine.call("ls /tmp"), "the first half")
    time.sleep(8)  # a sweep comes every five seconds at the latest
    assert "slow.jsonl" in service.machine.call(f"ls {inbox}"), "claimed while it was written"
    service.machine.call("touch /tmp/go-on")
    assert len(service.answered("slow")) == 6


def test_every_command_of_the_page_is_run_here() -> None:
    """The blocks of the page by name; a new one must be run too, or be named here with a reason."""
    run = {
        "packages": "by debootstrap",
        "install": "by the fixtures",
        "member": "by the fixtures",
        "health": "",
        "search": "in test_journal",
        "copy": "",
        "collect": "",
        "counts": "in test_journal",
        "reload": "in test_reload",
        "engine": "in test_engine, but for the packages of another engine, which need hundreds of megabytes",
    }
    assert set(run) == set(BLOCKS)
    assert set(blocks()) == set(run), PAGE.name
