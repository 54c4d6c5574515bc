"""The embedded engine's build, asked in a child that may do what it likes."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from batchd.core.doctor.server import BuildFacts
from batchd.edges import llamacpp_build
from batchd.edges.llamacpp_build import embedded_version, read_build


def says(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_build, "version", lambda name: "1.2")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ('print(\'["cpu", "gpu"]\')', BuildFacts("1.2", ("cpu", "gpu"))),
        ("import sys; sys.exit('no libcuda')", BuildFacts("1.2", trouble="no libcuda")),
        ("import os; os.abort()", BuildFacts("1.2", trouble="it ended with -6")),
        ("print('{}')", BuildFacts("1.2", trouble="it ended with 0")),
    ],
)
def test_its_devices_or_its_trouble_are_told(code: str, facts: BuildFacts) -> None:
    assert read_build(False, says(code)) == facts


@pytest.mark.usefixtures("_installed")
def test_one_that_hangs_or_talks_nonsense_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_build(True, says("print('gpu')")).trouble
    assert read_build(True, ("/no/such/program",)).trouble
    monkeypatch.setattr(llamacpp_build, "ASK_S", 0.05)
    assert "no answer within" in read_build(True, says("import time; time.sleep(60)")).trouble


def test_without_it_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(llamacpp_build, "version", absent)
    assert read_build(True, ("/no/such/program",)) == BuildFacts("", is_chosen=True)


@pytest.mark.embedded
def test_the_real_one_calculates_on_something() -> None:
    if not embedded_version():
        pytest.skip("the extra batchd[embedded] is not installed")
    assert "cpu" in read_build(False).devices
