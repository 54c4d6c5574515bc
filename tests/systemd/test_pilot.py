"""A model that answers nothing, as one with a wrong template does: a large batch stops after its pilot.

DIAGNOSTICS
    None: tests.
"""

from collections.abc import Iterator

import pytest

from tests.systemd.service import SIMULATOR, Service, batch

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

UNIT = "etc/systemd/system/ollama.service"

LINES = 5_000


@pytest.fixture
def mute(service: Service) -> Iterator[Service]:
    """The server of the machine gives empty answers."""
    _serve(service, SIMULATOR.replace("--slots 2", "--slots 2 --mute 1"))
    yield service
    _serve(service, SIMULATOR)


def _serve(service: Service, unit: str) -> None:
    (service.machine.tree / UNIT).write_text(unit)
    service.machine.call("systemctl daemon-reload; systemctl reset-failed ollama; systemctl restart ollama")


def test_empty_answers_pause_a_batch_of_5000_after_20_requests_and_systemctl_says_so(mute: Service) -> None:
    since = mute.now()
    mute.drop("alice", "thousands.jsonl", batch("thousands", LINES))
    mute.wait_until(lambda: mute.show("StatusText").startswith("paused"), "the pause")
    shown = mute.machine.call("systemctl status --no-pager --full batchd")
    [said] = [line.strip() for line in shown.splitlines() if line.strip().startswith("Status:")]
    assert said.startswith('Status: "paused 20/5,000 · batchd resume batch_')
    assert said.endswith('20 of the first 20 answers are bad: 20 empty"')
    assert mute.asked("thousands").total() == 20
    assert "pilot of 20: 20 bad (20 empty)" in mute.messages("EVENT=pilot", "PRIORITY=4", after=since)
    mute.machine.call("/opt/batchd/.venv/bin/batchd cancel thousands.jsonl", "batchd")
    mute.result("thousands")
    assert mute.asked("thousands").total() == 20
