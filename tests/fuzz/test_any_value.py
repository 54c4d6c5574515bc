"""Any JSON, any text, any bytes: what hypothesis thinks of and a list of mutations does not.

DIAGNOSTICS
    None: tests.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchd.core.fault import LineFault
from batchd.core.json import loads
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Request, duplicate_custom_id
from batchd.core.result import line_fault_line, result_line
from tests.fuzz.judge import ID, is_text, judge_fault, judge_line, judge_result, read
from tests.fuzz.mutations import NAMES, URLS

#: Time is no reason to fail, since the machine may be busy or its caches cold.
TRIED = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])

#: Halves of surrogate pairs too: a JSON string can spell them.
ANY_TEXT = st.text(st.characters())
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
LINE_ENDS = st.text(st.sampled_from("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029a\x00\ufeff"))
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, inner, max_size=4)
    ),
    max_leaves=15,
)


def line(custom_id: object = "a", **body: object) -> dict[str, Any]:
    filled = body or {"messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": custom_id, "method": "POST", "url": URLS[0], "body": {"model": "m", **filled}}


@TRIED
@given(
    st.text(st.characters(), min_size=1, max_size=50) | LINE_ENDS.filter(bool),
    st.sampled_from((1, 200)),
    st.booleans(),
)
def test_a_custom_id_is_any_json_string_and_comes_back_verbatim(
    piece: str, times: int, is_ascii: bool
) -> None:
    custom_id = (piece * times)[:10_000]
    raw = json.dumps(line(custom_id), ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    outcome = judge_line(raw)
    if not is_text(custom_id):
        assert isinstance(outcome, LineFault)
        assert (outcome.code, outcome.custom_id) == ("invalid_json_line", None)
        return
    assert isinstance(outcome, Request)
    assert outcome.custom_id == custom_id
    again = duplicate_custom_id(2, custom_id)
    judge_fault(again, read(raw))
    judge_result(line_fault_line(again, ID), custom_id)


@TRIED
@given(
    ANY_JSON, st.sampled_from((("custom_id",), ("method",), ("url",), ("body",), ("extra",))), st.booleans()
)
def test_any_value_anywhere_around_the_body_has_one_outcome(
    value: Any, path: tuple[str], is_ascii: bool
) -> None:
    made = line() | {path[0]: value}
    judge_line(json.dumps(made, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"))


@TRIED
@given(ANY_JSON, st.sampled_from(NAMES), st.sampled_from(URLS))
def test_any_value_under_any_name_in_the_body_has_one_outcome(value: Any, name: str, url: str) -> None:
    made = line() | {"url": url}
    made["body"][name] = value
    judge_line(json.dumps(made).encode())


@TRIED
@given(st.binary(max_size=200))
def test_any_bytes_have_one_outcome(raw: bytes) -> None:
    assert isinstance(judge_line(raw), LineFault)


@TRIED
@given(UNICODE | LINE_ENDS, UNICODE | LINE_ENDS, st.sampled_from((Endpoint.CHAT, Endpoint.COMPLETIONS)))
def test_any_answer_is_one_line_that_is_read_back(text: str, custom_id: str, endpoint: Endpoint) -> None:
    request = Request(custom_id, endpoint, "m", (), (), {}, 16)
    usage = Usage(1, 1, None, Source.UNKNOWN, None, None)
    written = judge_result(
        result_line(request, Answer(text, text or None, "stop", usage), ID, 0.0), custom_id
    )
    (choice,) = written["response"]["body"]["choices"]
    if endpoint is Endpoint.COMPLETIONS:
        assert choice["text"] == text
    else:
        assert choice["message"]["content"] == text
        assert choice["message"].get("reasoning_content", "") == text


@pytest.mark.parametrize("half", [rb'"\ud800"', rb'"a\udc00"', b'"\xed\xa0\x80"', rb'"\ude00\ud83d"'])
def test_an_answer_with_half_of_a_surrogate_pair_does_not_come_past_the_reader_of_the_engines(
    half: bytes,
) -> None:
    with pytest.raises(ValueError, match=r"surrogate|UTF-8|utf-8|escape"):
        loads(half)
