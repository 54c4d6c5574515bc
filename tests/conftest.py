"""What all tests may ask for."""

import importlib.util
import os
from pathlib import Path

import pytest

from batchd.edges.model_store import ensure_small_model
from batchd.errors import UnavailableError
from tests.chaos.tally import LINES, table
from tests.house import OURS


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The real model, fetched once into the cache of `batchd demo`. For tests marked `embedded`."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the extra batchd[embedded] is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batchd"
    try:
        return ensure_small_model(cache, lambda _so_far, _in_all: None)
    except UnavailableError as error:
        pytest.skip(error.message)


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tester has set, for the tests or for a batchd of their own, is not what the test sees."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was struck, and what was lost of it."""
    if LINES:
        terminalreporter.section("blows")
        terminalreporter.write_line(table(LINES))
