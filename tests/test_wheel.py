"""The package as others get it: sdist and wheel build from a clean copy, and hold what they must."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "batchd", "systemd", "spool.example", "README.md", "LICENSE", "CHANGELOG.md")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def names_in_wheel(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.timeout(300)
def test_the_wheel_holds_every_module_and_no_test(built: Path) -> None:
    names = names_in_wheel(built)
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "batchd").rglob("*.py")}
    assert ours <= names
    assert "batchd/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", ["systemd", "spool.example/inbox"])
def test_the_wheel_holds_the_units_and_the_example(built: Path, folder: str) -> None:
    wanted = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
    assert wanted
    packed = {name for name in names_in_wheel(built) if f"/data/share/batchd/{folder}/" in name}
    assert {Path(name).name for name in packed} == wanted


@pytest.mark.timeout(300)
def test_the_wheel_holds_the_licence_and_the_command(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "batchd = batchd.cli:main" in archive.read(entry_points).decode()
    assert [name for name in names if name.endswith("licenses/LICENSE")]


@pytest.mark.timeout(300)
def test_the_sdist_holds_what_the_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "systemd/batchd.service"} <= names
