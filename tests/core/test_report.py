"""One batch for people: what it says, and that nothing in it can do anything."""

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.record import Event
from batchd.core.report import DECISIONS_SHOWN, GROUPS_SHOWN, draw_pace, report
from tests.core.test_metrics import GROUP, metrics, progress

BATCH = {"status": "completed", "request_counts": {"total": 10, "completed": 9, "failed": 1}}

HOSTILE = "\"'></td><script>alert(1)</script><svg onload=alert(2)>\x1b]0;x\x07\u202e"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_it_says_what_ran_what_it_cost_and_what_was_decided() -> None:
    said = " ".join(Page(report(BATCH, metrics())).said)
    for expected in (
        "reviews.jsonl: completed",
        "10 requests: 9 answered, 1 failed",
        "70.0% of the prompt tokens were not read again",
        "Blank lines: 1; they were skipped.",
        "slots_halved",
        "out of memory",
        "1970-01-01 00:16:40 UTC",
        "crash",
    ):
        assert expected in said


def test_what_the_server_does_not_tell_is_said_to_be_so_and_an_estimate_is_about() -> None:
    unknown = metrics(progress(unknown_answers=10, cached_tokens=0, prefill_s=6.0))
    said = " ".join(Page(report(BATCH, unknown)).said)
    assert "not told by this server, and nothing is claimed" in said
    assert "% of the prompt tokens" not in said
    few = {"completed": 1_000, "prompt_tokens": 100_000, "cached_tokens": 50_000, "unknown_answers": 9}
    said = " ".join(Page(report(BATCH, metrics(progress(prefill_s=6.0, **few)))).said)
    for expected in ("About 50.0% of the prompt tokens", "about 50,007", "about 8,333.33 (estimate)"):
        assert expected in said


def test_the_picture_has_a_bar_for_each_step() -> None:
    picture = ElementTree.fromstring(draw_pace((4, 0, 6), 2.0))
    labels = [element.text for element in picture.iter() if element.tag.endswith("title")]
    assert labels == ["after 0 s: 2.00/s", "after 2 s: 0.00/s", "after 4 s: 3.00/s"]


def hostile(value: Any) -> Any:
    """Every text that could come from elsewhere, replaced by a bad one; sources and our own numbers stay."""
    if isinstance(value, dict):
        return {name: hostile(item) if name != "source" else item for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_no_text_of_a_stranger_becomes_markup() -> None:
    told = hostile(metrics(provenance={"models": [{"name": "m", "slots": 1, "engine": {"name": "e"}}]}))
    batch = {**BATCH, "errors": {"data": [{"code": HOSTILE, "message": HOSTILE}]}, "status": HOSTILE}
    text = report(batch, told)
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("svg") == text.count("viewBox") == 1
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("known", [0, None])
def test_what_nobody_knows_is_a_dash_and_claims_nothing(known: int | None) -> None:
    told = metrics(progress(completed=0, prompt_tokens=0, cached_tokens=0, completion_tokens=0))
    told["pace"]["answers"] = []
    told["memory"]["server_resident_peak_bytes"] = known
    said = " ".join(Page(report({"status": "failed"}, told)).said)
    assert "No prompt has an answer." in said
    assert "memory of the model server" not in said


def test_it_stays_small_however_large_the_batch_was() -> None:
    groups = tuple(GROUP for _ in range(200))
    events = tuple(Event(float(number), "loaded", "a", "b", "c") for number in range(1_000))
    text = report(BATCH, metrics(groups=groups, events=events))
    assert text.count("<tr>") < GROUPS_SHOWN + DECISIONS_SHOWN + 60
    assert f"The last {DECISIONS_SHOWN} of 1,000." in text
    assert len(text) < 60_000


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=120), st.floats(1.0, 1e6))
def test_any_pace_can_be_drawn(answers: list[int], step_s: float) -> None:
    assert "nan" not in draw_pace(answers, step_s)
