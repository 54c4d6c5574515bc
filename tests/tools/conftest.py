"""What holds for all tests of the measuring tools."""

import pytest


@pytest.fixture(autouse=True)
def _nothing_set(nothing_set: None) -> None:
    """Settings are made here, not found."""
