"""What the tests of the app may ask for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from tests.app.premises import Premises
from tests.fakes.scripted_model import Script


@pytest.fixture
def premises(tmp_path: Path) -> Iterator[Callable[..., Premises]]:
    """Builds one, and gives its spool back."""
    built: list[Premises] = []

    def build(script: Script | None = None) -> Premises:
        built.append(Premises(tmp_path, script))
        return built[-1]

    yield build
    for item in built:
        item.spool.close()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged during the test, a line each."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(sink)
