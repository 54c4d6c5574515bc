"""What holds for all tests of the command line."""

import pytest


@pytest.fixture(autouse=True)
def _nothing_set(nothing_set: None) -> None:
    """Verbs that are called in the test's own process read its environment."""
