"""Each promise of the page of security names the tests that show it, and each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_the_page_makes_promises() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_page_names_is_there(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M)


def test_every_promise_names_a_test() -> None:
    promises = re.findall(r"^- (.*?)(?=^- |^\n|\Z)", PAGE, re.M | re.S)
    assert len(promises) >= PAGE.count("\n- ")
    assert [promise for promise in promises if "`tests/" not in promise] == []
