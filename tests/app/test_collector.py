"""The collector looks seldom, and still looks."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from batchd.app.collector import THRESHOLDS, calm_collector


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Circle:
    def __init__(self) -> None:
        self.me = self


def test_circles_are_still_found() -> None:
    calm_collector()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.isenabled()
    seen = ref(Circle())
    kept: list[list[int]] = [[] for _ in range(2 * THRESHOLDS[0])]
    assert seen() is None
    assert len(kept) > THRESHOLDS[0]
