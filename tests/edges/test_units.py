"""The unit files: systemd itself reads them, and they agree with the spool.

DIAGNOSTICS
    None: tests.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from batchd.edges.spool import Spool
from batchd.settings import SERVICE_LOCKS, default_card_locks

UNITS = Path(__file__).parents[2] / "systemd"

#: Of systemd's own measure, times ten: 1.5 is far below what network daemons have; lower is better.
EXPOSURE_MAX = 15
#: The drop-in opens devices, executable memory and thread placement for an engine.
EXPOSURE_WITH_ENGINE_MAX = 15

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian package systemd)"
)


def settings(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith(("#", "[")))
    return [(key, value) for key, _, value in pairs]


def placed(tmp_path: Path, *, with_engine: bool) -> Path:
    """The unit as it would be installed, with a program that exists here: verify looks for the file."""
    unit = tmp_path / "batchd.service"
    program = dict(settings("batchd.service"))["ExecStart"].split()[0]
    text = (UNITS / "batchd.service").read_text()
    unit.write_text(text.replace(program, "/bin/true"))
    if with_engine:
        drop_in = tmp_path / "batchd.service.d" / "engine.conf"
        drop_in.parent.mkdir()
        shutil.copy(UNITS / "batchd-engine.conf", drop_in)
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=50, check=False
    )


@needs_systemd
@pytest.mark.parametrize("with_engine", [False, True])
def test_systemd_accepts_the_unit_without_a_word(tmp_path: Path, with_engine: bool) -> None:
    unit = placed(tmp_path, with_engine=with_engine)
    answer = analyze("verify", str(unit))
    ours = [line for line in answer.stderr.splitlines() if "batchd" in line or str(tmp_path) in line]
    assert ours == []
    assert answer.returncode == 0


@needs_systemd
def test_systemd_would_have_complained(tmp_path: Path) -> None:
    unit = placed(tmp_path, with_engine=True)
    drop_in = tmp_path / "batchd.service.d" / "engine.conf"
    drop_in.write_text(drop_in.read_text() + "ProtectEverything=yes\n")
    assert "ProtectEverything" in analyze("verify", str(unit)).stderr


@needs_systemd
@pytest.mark.parametrize(("with_engine", "limit"), [(False, EXPOSURE_MAX), (True, EXPOSURE_WITH_ENGINE_MAX)])
def test_the_sandbox_is_tight(tmp_path: Path, with_engine: bool, limit: int) -> None:
    unit = placed(tmp_path, with_engine=with_engine)
    answer = analyze("security", "--offline=yes", f"--threshold={limit}", str(unit))
    assert answer.returncode == 0, answer.stdout


def test_the_unit_keeps_what_the_program_relies_on() -> None:
    unit = settings("batchd.service")
    for expected in [
        ("Type", "notify"),
        ("ExecStart", "/opt/batchd/.venv/bin/batchd daemon"),
        ("Environment", "BATCHD_OLLAMA__MODE=attach"),
        ("ExecReload", "/opt/batchd/.venv/bin/batchd config --check"),
        ("RestartPreventExitStatus", "78"),
        ("CapabilityBoundingSet", "CAP_LEASE"),
        ("AmbientCapabilities", "CAP_LEASE"),
    ]:
        assert expected in unit
    assert [value for key, value in unit if key == "ReadWritePaths"] == ["/var/spool/batchd"]


def test_the_lock_of_the_card_lies_where_only_the_service_can_write() -> None:
    unit = dict(settings("batchd.service"))
    assert Path("/run") / unit["RuntimeDirectory"] == SERVICE_LOCKS
    assert unit["RuntimeDirectoryMode"] == "0755"
    # systemd names the directory in this variable.
    assert default_card_locks({"RUNTIME_DIRECTORY": str(SERVICE_LOCKS)})[0] == SERVICE_LOCKS


def test_the_spool_that_tmpfiles_makes_is_the_spool_that_batchd_opens(tmp_path: Path) -> None:
    lines = [line.split() for line in (UNITS / "batchd.tmpfiles").read_text().splitlines()]
    made = {fields[1]: fields[2] for fields in lines if fields[0] == "d"}
    root = tmp_path / "spool"
    Spool.open(root).close()
    ours = {path.name for path in root.iterdir() if path.is_dir()}
    assert set(made) == {"/var/spool/batchd", *(f"/var/spool/batchd/{name}" for name in ours)}
    assert made["/var/spool/batchd/processing"] == "2700"


def test_user_and_group_are_the_same_in_every_file() -> None:
    sysusers = (UNITS / "batchd.sysusers").read_text()
    assert ("User", "batchd") in settings("batchd.service")
    assert "\nm batchd batchd-submit\n" in sysusers
    assert "\nu batchd " in sysusers
    assert "\ng batchd-submit " in sysusers


def test_every_group_that_the_drop_in_joins_is_made() -> None:
    """A unit that names a group which is not there does not start at all."""
    made = {
        line.split()[1] for line in (UNITS / "batchd.sysusers").read_text().splitlines() if line[:2] == "g "
    }
    joined = dict(settings("batchd-engine.conf"))["SupplementaryGroups"].split()
    assert set(joined) <= made
