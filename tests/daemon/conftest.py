"""What the tests of the daemon's rooms may ask for."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged during the test, a line each."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(sink)
