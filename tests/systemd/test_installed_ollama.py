"""An Ollama as its own installer lays it out: a user of its own, models in that user's home, a unit.

SUMMARY
    Attached, batchd needs none of it: it works whichever of the two starts first. An Ollama of batchd's own
    would know no model, and is refused with the command that helps; the doctor says the same before.

DIAGNOSTICS
    None: tests.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.systemd.conftest import CLONE
from tests.systemd.page import blocks
from tests.systemd.service import SIMULATOR, Service, batch

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

HOME = "/usr/share/ollama"
MODELS = f"{HOME}/.ollama/models"
UNIT = "etc/systemd/system/ollama.service"
LATE = f"{UNIT}.d/late.conf"

#: The installer's unit, with the program below.
INSTALLED = """\
[Unit]
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3

[Install]
WantedBy=default.target
"""

#: Stands for Ollama's program.
PROGRAM = f"""\
#!/bin/sh
export OLLAMA_HOST="${{OLLAMA_HOST:-127.0.0.1:11434}}"
cd {CLONE} && exec /opt/batchd/.venv/bin/python -m tests.simulator "$@"
"""

#: What the installer does, and what a first `ollama pull` leaves.
LAID_OUT = (
    f"id ollama 2>/dev/null || useradd -r -s /bin/false -U -m -d {HOME} ollama",
    f"mkdir -p {MODELS}/manifests/registry.ollama.ai/library/smollm2 {MODELS}/blobs",
    f"touch {MODELS}/manifests/registry.ollama.ai/library/smollm2/135m {MODELS}/blobs/sha256-1",
    f"chown -R ollama:ollama {HOME}; chmod 700 {HOME}; chmod -R u+rwX,go+rX {HOME}/.ollama",
)


@pytest.fixture
def laid_out(service: Service) -> Iterator[Service]:
    """The unit of the other tests is put back afterwards."""
    machine = service.machine
    program = machine.tree / "usr" / "local" / "bin" / "ollama"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    for command in LAID_OUT:
        machine.call(command)
    (machine.tree / UNIT).write_text(INSTALLED)
    machine.call("systemctl daemon-reload; systemctl restart ollama")
    yield service
    (machine.tree / LATE).unlink(missing_ok=True)
    machine.call("gpasswd --delete batchd ollama", is_well=None)
    (machine.tree / UNIT).write_text(SIMULATOR)
    machine.call("systemctl daemon-reload; systemctl reset-failed; systemctl restart ollama")


def findings(service: Service) -> dict[str, dict[str, Any]]:
    """What the doctor tells the user of the daemon."""
    said = service.machine.call("/opt/batchd/.venv/bin/batchd doctor --quick --json", "batchd", is_well=None)
    told = json.loads(said)
    return {item["topic"]: item for item in reversed(told["findings"])}


def test_attached_it_works_when_ollama_is_there_first(laid_out: Service) -> None:
    laid_out.restart()
    laid_out.drop("alice", "first.jsonl", batch("first", 4))
    assert len(laid_out.answered("first")) == 4


def test_attached_it_waits_for_an_ollama_that_comes_later(laid_out: Service) -> None:
    machine, since = laid_out.machine, laid_out.now()
    machine.call("systemctl stop batchd ollama")
    (machine.tree / LATE).parent.mkdir(exist_ok=True)
    (machine.tree / LATE).write_text("[Unit]\nConditionPathExists=/run/disk-of-the-models\n")
    machine.call("systemctl daemon-reload")
    laid_out.restart()
    laid_out.drop("alice", "later.jsonl", batch("later", 4))
    laid_out.wait_until(lambda: bool(laid_out.entries("EVENT=model_waits", after=since)), "the wait")
    assert findings(laid_out)["engine"]["verdict"] == "problem"
    assert findings(laid_out)["engine"]["step"] == "systemctl start ollama"
    machine.call("touch /run/disk-of-the-models; systemctl start ollama")
    assert len(laid_out.answered("later")) == 4


def test_own_names_the_models_that_it_cannot_read_and_the_command_that_helps(laid_out: Service) -> None:
    machine, since = laid_out.machine, laid_out.now()
    for command in blocks()["engine"][1:-1]:  # all but pip, and the restart at the end
        machine.call(command, folder=CLONE)
    laid_out.configure('[ollama]\nmode = "own"\nbinary = "/usr/local/bin/ollama"\n')
    machine.call("systemctl reset-failed batchd; systemctl restart batchd", is_well=None)
    laid_out.wait_until(lambda: laid_out.show("ActiveState") == "failed", "the refusal")
    assert laid_out.show("ExecMainStatus") == "78"
    said = laid_out.messages(after=since)
    helps = f"usermod -aG ollama batchd && sudo chmod g+rx {HOME}"
    assert MODELS in said
    assert helps in said

    found = findings(laid_out)["own models"]
    assert found["verdict"] == "problem"
    assert helps in found["step"]

    machine.call(helps.replace("sudo ", ""))
    laid_out.configure(f'[ollama]\nmode = "own"\nbinary = "/usr/local/bin/ollama"\nmodels_dir = "{MODELS}"\n')
    laid_out.restart()
    assert findings(laid_out)["own models"]["verdict"] == "ok"
    laid_out.drop("alice", "own-models.jsonl", batch("own-models", 4))
    assert len(laid_out.answered("own-models")) == 4


def test_the_doctor_finds_the_running_one_and_the_models_that_an_own_one_could_not_read(
    laid_out: Service,
) -> None:
    found = findings(laid_out)
    assert found["engine"]["verdict"] == "ok"
    assert "(attach, run by ollama)" in found["engine"]["saw"]
    assert found["own models"]["verdict"] == "note"
    assert f"sudo usermod -aG ollama batchd && sudo chmod g+rx {HOME}" in found["own models"]["step"]
    assert found["spool"]["verdict"] == "ok"
