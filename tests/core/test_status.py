"""The status report: what is written is read back, what is newer is refused, a rate is a rate."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.json import dumps
from batchd.core.status import (
    UNCLAIMABLE_MAX,
    BatchStatus,
    ModelStatus,
    StatusReport,
    Unclaimable,
    best_of,
    duration,
    parse,
    render,
    status_line,
)
from batchd.errors import SpoolError

words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
counts = st.integers(min_value=0, max_value=10**9)
numbers = st.none() | st.floats(min_value=0, max_value=1e9)
models = st.builds(
    ModelStatus, words, words, words, st.none() | words, st.none() | counts, st.none() | counts, words
)
batches = st.builds(
    BatchStatus,
    *(words, words, words, counts, counts, counts, numbers, numbers, numbers, numbers, words),
    st.booleans(),
    words,
)
reports = st.builds(
    StatusReport,
    st.floats(min_value=0, max_value=1e10),
    counts,
    st.sampled_from(["starting", "ready", "draining"]),
    st.none() | models,
    st.lists(batches, max_size=3).map(tuple),
    st.lists(st.builds(Unclaimable, words, words), max_size=3).map(tuple),
    numbers,
    counts,
)


@given(reports)
def test_what_is_written_is_read_back(report: StatusReport) -> None:
    assert parse(render(report)) == report


@given(st.builds(BatchStatus, st.just("batch_0"), st.text(), st.just("in_progress"), counts, counts, counts))
def test_no_name_breaks_the_file_or_reaches_the_terminal_raw(batch: BatchStatus) -> None:
    report = StatusReport(1.0, 2, "ready", batches=(batch,))
    text = render(report).decode("utf-8")
    assert text.count("\n") == 1
    assert not [char for char in parse(text.encode()).batches[0].name if ord(char) < 0x20 or char == "\x7f"]


@given(reports)
def test_the_line_for_the_service_is_one_short_line(report: StatusReport) -> None:
    line = status_line(report)
    assert 0 < len(line) <= 200
    assert line.isprintable()


def test_a_newer_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(SpoolError, match=r"version 2; this batchd reads up to 1") as caught:
        parse(b'{"version": 2, "anything": []}')
    assert caught.value.next_step


def test_a_field_of_a_later_batchd_is_left_aside_and_an_integer_may_stand_for_a_float() -> None:
    raw = json.loads(render(StatusReport(1.5, 2, "ready", batches=(BatchStatus("b", "n", "s", 1, 1, 0),))))
    raw["later"] = True
    raw["batches"][0]["later"] = {}
    raw["batches"][0]["eta_s"] = 3
    assert parse(json.dumps(raw).encode()).batches[0].eta_s == 3.0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": "1"}',
        b'{"version": 1}',
        b'{"version": 1, "written_at": "now", "pid": 1, "state": "ready"}',
        b'{"version": 1, "written_at": 1, "pid": 1, "state": "ready", "batches": {}}',
        b'{"version": 1, "written_at": 1, "pid": 1, "state": "ready", "batches": [3]}',
        b'{"version": 1, "written_at": 1, "pid": 1, "state": "ready", "model": []}',
        b'{"version": 1, "written_at": 1, "pid": 1, "state": "ready", "batches": [{"id": "b"}]}',
    ],
)
def test_what_is_no_report_is_refused(raw: bytes) -> None:
    with pytest.raises(SpoolError):
        parse(raw)


def test_a_flooded_inbox_keeps_the_file_small_and_the_count_right() -> None:
    many = tuple(Unclaimable(str(index), "a link") for index in range(UNCLAIMABLE_MAX + 5))
    report = parse(render(StatusReport(1.0, 2, "ready", unclaimable=many, unclaimable_more=2)))
    assert (len(report.unclaimable), report.unclaimable_more) == (UNCLAIMABLE_MAX, 7)


def test_the_line_tells_of_the_batch_at_work_and_of_what_needs_a_person() -> None:
    waiting = BatchStatus("batch_1", "later.jsonl", "validating", 0, 0, 0)
    working = BatchStatus("batch_2", "job.jsonl", "in_progress", 170_000, 61_200, 4, 4.12, 80.0, 0.97, 22_200)
    model = ModelStatus("ollama", "http://127.0.0.1:11434", "cooling")
    report = StatusReport(1.0, 2, "ready", model, (waiting, working), (Unclaimable("x", "a link"),))
    assert status_line(report) == (
        "in_progress 61,204/170,000 · 4 failed · 4.1/s · 97% cached · ETA 6 h 10 min · 1 more"
        " · model cooling · 1 in the inbox cannot be claimed"
    )


def test_what_was_cached_is_a_count_or_about_or_not_told() -> None:
    batch = BatchStatus("b", "x.jsonl", "in_progress", 9, 1, 0, cached_share=0.97)
    assert "· 97% cached" in status_line(StatusReport(1.0, 2, "ready", batches=(batch,)))
    about = replace(batch, is_cached_estimated=True)
    assert "about 97% cached" in status_line(StatusReport(1.0, 2, "ready", batches=(about,)))
    untold = replace(batch, cached_share=None)
    assert "cached" not in status_line(StatusReport(1.0, 2, "ready", batches=(untold,)))
    assert parse(render(StatusReport(1.0, 2, "ready", batches=(about,)))).batches == (about,)


def paused(number: int, detail: str = "all is empty") -> BatchStatus:
    batch_id = f"batch_{number:032x}"
    return BatchStatus(batch_id, "n", "in_progress", 5_000, 20, 0, detail=detail, is_paused=True)


def test_a_paused_batch_has_the_line_where_nothing_else_is_at_work_with_what_to_type_first() -> None:
    report = StatusReport(1.0, 2, "ready", batches=(paused(1, "why " * 100), paused(2)))
    line = status_line(report)
    assert line.startswith("paused 20/5,000 · batchd resume batch_000000000000 · why why")
    assert len(line) == 200


def test_a_batch_at_work_has_the_line_before_paused_ones_and_they_are_counted() -> None:
    working = BatchStatus("batch_9", "n", "in_progress", 10, 1, 0)
    report = StatusReport(1.0, 2, "ready", batches=(paused(1), working, paused(2)))
    assert status_line(report) == "in_progress 1/10 · 2 more, 2 paused"


@pytest.mark.parametrize(("state", "line"), [("ready", "idle"), ("draining", "draining")])
def test_the_line_of_a_daemon_without_a_batch_is_its_state(state: str, line: str) -> None:
    assert status_line(StatusReport(1.0, 2, state)) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (270, "4 min 30 s"),
        (3_605, "1 h"),
        (22_200, "6 h 10 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_of_several_servers_the_line_names_those_that_do_not_answer() -> None:
    working = BatchStatus("batch_9", "n", "in_progress", 10, 1, 0)
    servers = (
        ModelStatus("ollama", "http://a:1", "resident", "m"),
        ModelStatus("ollama", "http://b:1", "cooling", detail="connection refused"),
    )
    report = StatusReport(1.0, 2, "ready", best_of(servers), (working,), servers=servers)
    assert status_line(report) == "in_progress 1/10 · 1 of 2 servers: http://b:1 cooling"
    assert parse(render(report)) == report
    both = (servers[0], servers[0])
    assert status_line(StatusReport(1.0, 2, "ready", both[0], (working,), servers=both)) == "in_progress 1/10"


def test_the_best_server_is_one_that_answers_then_one_that_will() -> None:
    states = ["given up", "absent", "cooling", "loading", "resident"]
    servers = [ModelStatus("ollama", f"http://{state}", state) for state in states]
    for count in range(len(servers), 2, -1):
        assert best_of(servers[:count]) is servers[count - 1]
    assert best_of(servers[:2]) is servers[0]


REPORT = {"written_at": 1.0, "pid": 1, "state": "ready", "version": 1}
BATCH_FIELDS = {"id": "b", "name": "n", "status": "s", "total": 1, "completed": 0, "failed": 0}


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b"[]",
        b"1e999",
        dumps({**REPORT, "version": "x"}),
        dumps({**REPORT, "written_at": "now"}),
        b'{"version":1,"pid":1,"state":"ready","written_at":1e999}',
        dumps({**REPORT, "batches": {}}),
        dumps({**REPORT, "batches": [{**BATCH_FIELDS, "total": []}]}),
        dumps({**REPORT, "batches": [None]}),
        dumps(REPORT)[:-1] + b',"batches":[' + dumps(BATCH_FIELDS)[:-1] + b',"eta_s":1e999}]}',
        dumps({**REPORT, "model": []}),
        dumps({**REPORT, "unclaimable": [[[[]]]]}),
    ],
)
def test_bytes_of_a_stranger_are_a_sentence_and_no_trace(raw: bytes) -> None:
    with pytest.raises(SpoolError, match="cannot be read"):
        parse(raw)
