"""The drop-in for an engine of batchd's own: a private `ollama serve` starts inside the unit.

DIAGNOSTICS
    None: tests.
"""

import pytest

from tests.systemd.conftest import CLONE
from tests.systemd.page import blocks
from tests.systemd.service import Service, batch

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

#: Stands for Ollama's program; `serve` and its environment are as batchd hands them over.
PROGRAM = f"""\
#!/bin/sh
cd {CLONE} && exec /opt/batchd/.venv/bin/python -m tests.simulator "$@"
"""


def test_a_private_server_runs_inside_the_unit(service: Service) -> None:
    program = service.machine.tree / "usr" / "local" / "bin" / "ollama"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    service.configure('[ollama]\nmode = "own"\nbinary = "/usr/local/bin/ollama"\n')
    packages, *rest = blocks()["engine"]
    assert "pip install" in packages
    for command in rest:
        service.machine.call(command, folder=CLONE)
    service.drop("alice", "own.jsonl", batch("own", 4))
    assert len(service.answered("own")) == 4
    assert service.asked("own").total() == 0, "nobody asked the server of the machine"
    assert service.is_active()
