"""The audit's reading of one line, and its arithmetic; what it finds in a whole spool stands with the app."""

import io
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.audit.finding import MEANING, REDO_RESULT, Finding, Rule
from batchd.core.audit.journal import JournalAudit
from batchd.core.audit.outcome import (
    Inputs,
    Kind,
    OutcomeLine,
    content_key,
    custom_id_of,
    id_key,
    read_outcome,
)
from batchd.core.audit.report import FINDINGS_PER_BATCH_MAX, Found, Report
from batchd.core.audit.results import LINES_MAX, OUTPUT, ResultAudit, audit_files
from batchd.core.fault import UNANSWERED, Category, LineFault, ModelFault
from batchd.core.json import dumps, loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, LineLimits, Request, parse_line
from batchd.core.result import line_fault_line, model_fault_line, request_id, result_line

ID = f"batch_{'0a' * 16}"


def request(endpoint: Endpoint, custom_id: str = "a") -> Request:
    return Request(custom_id, endpoint, "m", (), ("hi",), {}, 0)


def answered(endpoint: Endpoint = Endpoint.CHAT, custom_id: str = "a", index: int = 0) -> bytes:
    answer = Answer("yes", None, "stop", Usage(7, 3, 0, Source.ENGINE, None, None), ((0.5,),))
    return result_line(request(endpoint, custom_id), answer, request_id(ID, index), 1.0)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_an_answer_of_each_endpoint_is_read_back(endpoint: Endpoint) -> None:
    completion = 0 if endpoint is Endpoint.EMBEDDINGS else 3
    line = read_outcome(answered(endpoint, index=0x12345), ID)
    assert line == OutcomeLine(0x12345, "a", Kind.ANSWERED, "", 7, completion)


@pytest.mark.parametrize("category", Category)
def test_an_error_of_each_category_is_read_back(category: Category) -> None:
    fault = ModelFault(category, "It is so.", is_temporary=False)
    line = read_outcome(model_fault_line("a", 3, fault, request_id(ID, 2)), ID)
    assert isinstance(line, OutcomeLine)
    assert (line.index, line.custom_id, line.is_error) == (2, "a", True)
    assert line.kind is (Kind.UNANSWERED if category in UNANSWERED else Kind.REFUSED)


@pytest.mark.parametrize(
    ("custom_id", "kind"), [("a", Kind.REFUSED), ("", Kind.REFUSED), (None, Kind.UNANSWERED)]
)
def test_a_refused_line_is_read_back(custom_id: str | None, kind: Kind) -> None:
    fault = LineFault(3, "invalid_json_line", "It is no JSON.", None, custom_id)
    line = read_outcome(line_fault_line(fault, request_id(ID, 2)), ID)
    assert line == OutcomeLine(2, custom_id, kind, "invalid_json_line")


@given(st.text())
def test_any_custom_id_that_intake_takes_is_read_alike_from_both_sides(custom_id: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    url = "/v1/chat/completions"
    raw = dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})
    assert custom_id_of(raw) == custom_id
    parsed = parse_line(raw, 1, LineLimits(), None)
    if isinstance(parsed, Request):
        line = read_outcome(answered(custom_id=parsed.custom_id), ID)
        assert isinstance(line, OutcomeLine)
        assert line.is_of(custom_id)
        assert line.is_of_key(id_key(custom_id))
        assert not line.is_of(custom_id + "x")
        assert not line.is_of_key(id_key(custom_id + "x"))


@pytest.mark.parametrize(
    ("raw", "custom_id"),
    [
        (b"nonsense", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"custom_id":3}', None),
        (b'{"custom_id":"a","custom_id":"b"}', None),
        (b'{"custom_id":"a","x":1,"x":2}', "a"),
        (b'{"custom_id":"a","x":99999999999999999999}', "a"),
    ],
)
def test_a_custom_id_is_read_wherever_one_can_be(raw: bytes, custom_id: str | None) -> None:
    assert custom_id_of(raw) == custom_id
    parsed = parse_line(raw, 1, LineLimits(), None)
    assert isinstance(parsed, LineFault)
    assert parsed.custom_id == custom_id


def changed(**fields: object) -> bytes:
    value = loads(answered())
    assert isinstance(value, dict)
    response = fields.pop("in_response", None)
    if isinstance(response, Mapping):
        value["response"] |= response
    return dumps(value | fields)


BAD_USAGE = {"object": "list", "data": [1], "usage": {"prompt_tokens": 1, "completion_tokens": "x"}}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"{", "is not JSON"),
        (b"[]", "has not exactly the keys"),
        (changed(more=1), "has not exactly the keys"),
        (changed(id=3), "has an id that is not of this batch"),
        (changed(id=f"batch_req_{'0b' * 16}00000000"), "has an id that is not of this batch"),
        (changed(id=f"batch_req_{'0a' * 16}0"), "has an id that is not of this batch"),
        (changed(id=f"batch_req_{'0a' * 16}0000000G"), "has an id that is not of this batch"),
        (changed(custom_id=3), "has a custom_id that is no string"),
        (changed(custom_id=None), "has an answer and no custom_id"),
        (changed(error={"code": "x"}), "has both response and error"),
        (changed(response=[]), "has both response and error"),
        (changed(response=None), "has neither a response nor an error"),
        (changed(response=None, error={"code": "x"}), "has an error without message or line"),
        (changed(in_response={"request_id": "req_x"}), "has a request_id that is not its id's"),
        (changed(in_response={"body": None}), "has a response without a body"),
        (changed(in_response={"status_code": 500}), "neither an answer nor a refusal"),
        (changed(in_response={"status_code": 400}), "neither an answer nor a refusal"),
        (changed(in_response={"status_code": 400, "body": {"error": {}}}), "has a refusal without code"),
        (changed(in_response={"body": {"object": "x"}}), "no answer of a known endpoint"),
        (changed(in_response={"body": {"object": "list", "data": []}}), "has an answer that holds nothing"),
        (changed(in_response={"body": {"object": "list", "data": [1]}}), "has an answer without usage"),
        (changed(in_response={"body": BAD_USAGE}), "has a usage that is no number"),
    ],
)
def test_a_line_of_another_shape_is_refused_with_the_reason(raw: bytes, why: str) -> None:
    said = read_outcome(raw, ID)
    assert isinstance(said, str)
    assert why in said


@given(st.binary())
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(read_outcome(raw, ID), str)
    custom_id_of(raw)


def test_inputs_count_lines_as_intake_does() -> None:
    inputs = Inputs(io.BytesIO(b'\n{"custom_id":"a"}\r\n\n x \n'))
    assert list(inputs.ids) == [id_key("a"), id_key(None)]
    assert list(inputs.contents) == [content_key(b'{"custom_id":"a"}'), content_key(b" x ")]
    assert repr(inputs) == "<Inputs of 2 lines>"


def test_a_line_too_long_to_be_read_is_of_any_id() -> None:
    inputs = Inputs(io.BytesIO(b"x" * (64 * 2**20 + 10) + b"\n"))
    assert OutcomeLine(0, "anything", Kind.ANSWERED).is_of_key(inputs.ids[0])


def test_an_index_beyond_every_batch_asks_for_no_memory() -> None:
    audit = ResultAudit("outbox/x", ID, None)
    (found,) = audit.outcomes(OUTPUT, [answered(index=LINES_MAX) + b"\n"])
    assert "which the input lacks" in found.what


def test_figures_that_are_no_object_are_a_difference() -> None:
    there = {"a": {"sha256": "0", "bytes": 1, "lines": 1}}
    (found,) = audit_files("outbox/x", there, {"a": None})
    assert found.what == "It is not what was published: 1 bytes instead of None, 1 lines instead of None."


def finding(number: int) -> Finding:
    return Finding(Rule.COUNTERS, f"outbox/{number}", "It is wrong.", REDO_RESULT)


def test_the_first_findings_are_kept_and_all_are_counted() -> None:
    found = Found.of(map(finding, range(FINDINGS_PER_BATCH_MAX + 3)))
    assert (len(found.findings), found.more) == (FINDINGS_PER_BATCH_MAX, 3)


def test_a_second_look_confirms_by_rule_and_place() -> None:
    first = Found((finding(1), finding(2)), 5)
    second = Found((Finding(Rule.COUNTERS, "outbox/2", "In other words.", ""), finding(3)), 7)
    assert first.confirmed(second) == Found(second.findings[:1], 7)
    assert first.confirmed(Found((finding(3),), 7)) == Found()


def test_a_finding_is_one_sentence_with_rule_place_and_step() -> None:
    assert str(finding(1)) == f"I8 outbox/1: It is wrong. {REDO_RESULT}"
    assert set(MEANING) == set(Rule)


def test_a_report_is_well_without_findings() -> None:
    assert Report("spool", False, (), 0).is_well
    assert not Report("spool", False, (finding(1),), 0).is_well


def test_the_audits_have_a_face() -> None:
    assert repr(ResultAudit("outbox/x", ID, None)) == "<ResultAudit of outbox/x>"
    assert repr(JournalAudit("processing/x", ID)) == "<JournalAudit of processing/x>"
