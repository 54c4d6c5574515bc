"""A Debian 12 that boots: systemd as the first process, in namespaces of its own, with nothing but loopback.

SUMMARY
    why_not                 what lacks here to boot one, if anything
    build(folder, packages) the tree, from Debian's packages, by the mirror that apt knows
    fetch_wheels            batchd's dependencies for it, by the pip that runs the tests
    with Machine(tree, log) as machine:
        machine.call("systemctl status batchd"), machine.call("id", user="alice")

    BATCHD_TEST_SYSTEMD=1 builds the tree anew; BATCHD_TEST_SYSTEMD=DIRECTORY keeps the bare Debian there.

DIAGNOSTICS
    AssertionError: a command failed, or a wait reached its limit; what was said is in the message.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASE = "bookworm"
SWITCH = "BATCHD_TEST_SYSTEMD"

#: What the machine itself needs; what batchd needs is on its page.
BASE_PACKAGES = ("systemd", "systemd-sysv", "dbus")

BUILD_S = 900.0
BOOT_S = 90.0
CALL_S = 120.0

#: systemd powers off on this signal, as a container's first process.
_POWER_OFF = signal.SIGRTMIN + 4


def why_not() -> str | None:
    """Why no machine can be booted here."""
    if not os.environ.get(SWITCH):
        return f"boots a whole Debian, which takes minutes: {SWITCH}=1 switches it on"
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (
        ("systemd-nspawn", "systemd-container"),
        ("debootstrap", "debootstrap"),
        ("nsenter", "util-linux"),
        ("apt-get", "apt"),
    ):
        if shutil.which(program) is None:
            return f"needs {program} (Debian package {package})"
    if sys.version_info[:2] != (3, 11):
        return "needs Python 3.11, as Debian 12 has it: the wheels are fetched by the pip that runs the tests"
    return None


def build(folder: Path, packages: Sequence[str]) -> Path:
    """The tree of a fresh machine."""
    tree = folder / "tree"
    wanted = ",".join((*BASE_PACKAGES, *packages))
    kept = os.environ[SWITCH]
    bare = folder / "bare" if kept == "1" else Path(kept) / f"{RELEASE}-{wanted.replace(',', '-')}"
    if not bare.exists():
        bare.parent.mkdir(parents=True, exist_ok=True)
        _made(["debootstrap", "--variant=minbase", f"--include={wanted}", RELEASE, f"{bare}.new", _mirror()])
        Path(f"{bare}.new").replace(bare)
    if kept == "1":
        bare.replace(tree)
    else:
        _made(["cp", "-a", "--reflink=auto", str(bare), str(tree)])
    return tree


def copy_clone(target: Path) -> None:
    """What a clone of this repository holds."""
    made = ("__pycache__", "*.egg-info", "build", "dist", "batchd-results", "batchd-demo")
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", *made))


def fetch_wheels(target: Path) -> None:
    """All that `pip install .` needs, so that it runs without any network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    _made([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(target), *wanted])


def _mirror() -> str:
    """Where apt itself takes Debian from."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)"],
        capture_output=True,
        text=True,
        timeout=CALL_S,
        check=True,
    )
    for line in told.stdout.splitlines():
        origin, release, component, address = line.split(" ", 3)
        if (origin, release, component) == ("Debian", RELEASE, "main"):
            return address
    raise AssertionError(f"apt knows no mirror of Debian {RELEASE}; run apt-get update")


def _made(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def wait_until(is_so: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Poll."""
    until = time.perf_counter() + limit_s
    while not is_so():
        assert time.perf_counter() < until, f"no sign of {what} after {limit_s} s"
        time.sleep(0.1)


class Machine:
    """Boots with the block; powers off with it."""

    def __init__(self, tree: Path, log: Path) -> None:
        self.tree = tree
        self._log = log
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def __enter__(self) -> "Machine":
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--directory", str(self.tree), "--boot"),
                    *("--register=no", "--keep-unit", "--private-network", "--console=pipe"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._is_up, "a booted machine", BOOT_S)
        except BaseException:
            self._nspawn.kill()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._nspawn is not None
        os.kill(self.leader, _POWER_OFF)
        try:
            self._nspawn.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(BOOT_S)

    def call(
        self,
        command: str,
        user: str | None = None,
        is_well: bool | None = True,
        folder: str = "/",
        given: bytes | None = None,
        limit_s: float = CALL_S,
    ) -> str:
        """Run this in the machine's shell; what it said. `is_well`: None where the exit code may be any."""
        become = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        environment = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        done = subprocess.run(
            [
                *("nsenter", "-t", str(self.leader), "-m", "-p", "-n", "-u", "-i"),
                *(*environment, "HOME=/tmp", "LANG=C.UTF-8", *become),
                *("bash", "-c", f"cd {shlex.quote(folder)} && {command}"),
            ],
            input=b"" if given is None else given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
        said = done.stdout.decode("utf-8", "surrogateescape")
        assert is_well is None or (done.returncode == 0) is is_well, f"{command}: {done.returncode}\n{said}"
        return said

    def host_pid(self, pid: int) -> int:
        """How the host calls a process of the machine."""
        space = Path(f"/proc/{self.leader}/ns/pid").readlink()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                status = (place / "status").read_text(encoding="utf-8", errors="replace")
                is_here = (place / "ns" / "pid").readlink() == space
            except OSError:
                continue  # it ended meanwhile
            inside = next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:"))
            if is_here and int(inside) == pid:
                return int(place.name)
        raise AssertionError(f"the machine has no process {pid}")

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._log.read_text(errors="replace")[-3000:]
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                self.leader = int(child)
                return self.call("systemctl is-system-running", is_well=None).strip() == "running"
        return False
