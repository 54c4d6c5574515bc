"""Settings on a running service: what changes at once, what waits, and what is refused.

DIAGNOSTICS
    None: tests.
"""

import time

import pytest

from tests.systemd.page import blocks
from tests.systemd.service import Service, batch

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]


def test_a_reload_changes_what_may_change_and_names_what_waits(service: Service) -> None:
    pid, before = service.pid(), service.now()
    service.configure('slots = 3\nlog_level = "DEBUG"\ndrain_s = 7\n[ollama]\nhost = "127.0.0.1:1"\n')
    (reload,) = blocks()["reload"]
    service.machine.call(reload)
    service.wait_until(lambda: bool(service.entries("SETTING=slots", after=before)), "the reload")
    changed = {entry["SETTING"] for entry in service.entries("EVENT=setting_changed", after=before)}
    waits = service.entries("EVENT=setting_waits", after=before)
    assert changed == {"log_level", "drain_s"}
    assert {entry["SETTING"] for entry in waits} == {"slots", "ollama.host"}
    assert all("needs a restart" in entry["MESSAGE"] for entry in waits)
    assert (service.pid(), service.is_active()) == (pid, True)
    service.drop("alice", "after.jsonl", batch("after", 3))
    assert len(service.answered("after")) == 3, "it still talks to the server that it knows"


@pytest.mark.parametrize(
    "wrong", ["slotz = 4\n", "slots = 0\n", "slots = ["], ids=["unknown", "range", "toml"]
)
def test_a_reload_with_a_wrong_file_fails_and_keeps_the_old_settings(service: Service, wrong: str) -> None:
    pid, before = service.pid(), service.now()
    service.configure(wrong)
    assert "failed" in service.machine.call("systemctl reload batchd", is_well=False)
    assert service.is_active()
    service.machine.call("systemctl kill -s HUP --kill-whom=main batchd")
    service.wait_until(lambda: bool(service.entries("EVENT=reload_refused", after=before)), "the refusal")
    (refused,) = service.entries("EVENT=reload_refused", after=before)
    assert (refused["PRIORITY"], "the old ones hold" in refused["MESSAGE"]) == ("4", True)
    for told in (refused["MESSAGE"], service.messages("_TRANSPORT=stdout", after=before)):
        assert "slots" in told or "not TOML" in told, "the operator reads what is wrong"
    service.wait_until(service.is_active, "the end of the reload")
    assert service.pid() == pid
    service.drop("alice", "kept.jsonl", batch(f"kept{len(wrong)}", 3))
    assert len(service.answered("kept")) == 3


def test_a_wrong_setting_at_the_start_is_not_tried_again(service: Service) -> None:
    service.configure("slotz = 4\n")
    service.machine.call("systemctl reset-failed batchd; systemctl restart batchd", is_well=False)
    time.sleep(3)  # three times what systemd waits before it starts a service again
    assert service.show("ExecMainStatus") == "78"
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("failed", "0")
    assert "slots" in service.log(), "the journal has the nearest known name"
