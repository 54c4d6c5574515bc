"""One machine for all tests of this folder, with batchd installed by the page's own commands.

SUMMARY
    machine     booted, with the page's packages, wheels, a clone, two users and the simulator
    service     installed by the page, settled, and running well at the start of each test

DIAGNOSTICS
    None: tests.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import Machine, build, copy_clone, fetch_wheels, why_not
from tests.systemd.page import blocks, packages
from tests.systemd.service import CONFIG, IMPATIENT, SIMULATOR, Service

CLONE = "/srv/batchd"

#: `alice` may submit; `mallory` may not.
USERS = ("alice", "bob", "mallory")
MEMBERS = ("alice", "bob")


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted Debian. Without a network: what pip needs lies beside the clone."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("machine")
    tree = build(folder, packages())
    copy_clone(tree / CLONE[1:])
    fetch_wheels(tree / "srv" / "wheels")
    (tree / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
    (tree / "etc" / "systemd" / "system" / "ollama.service").write_text(SIMULATOR)
    with Machine(tree, folder / "boot.log") as machine:
        for user in USERS:
            machine.call(f"useradd --create-home {user}")
        yield machine


@pytest.fixture(scope="session")
def installed(machine: Machine) -> Service:
    """batchd, by the commands of the page."""
    for command in blocks()["install"]:
        machine.call(command, folder=CLONE, limit_s=300)
    (member,) = blocks()["member"]
    for user in MEMBERS:
        machine.call(member.replace("NAME", user))
    return Service(machine)


@pytest.fixture
def service(installed: Service, tmp_path: Path) -> Iterator[Service]:
    """Running well, with the settings of the tests; whatever a test changed is put back."""
    installed.configure("slots = 2\n")
    installed.drop_in("impatient", IMPATIENT)
    installed.restart()
    assert installed.is_active()
    yield installed
    for name in ("engine", "hasty"):
        installed.drop_in(name, None)
    (installed.machine.tree / CONFIG).unlink(missing_ok=True)
