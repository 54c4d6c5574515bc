import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from batchd.core.fault import UNANSWERED, Category, LineFault, ModelFault
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Request
from batchd.core.result import (
    line_fault_line,
    model_fault_line,
    request_id,
    result_line,
)

ID = "0f" * 20
REFUSED = [Category.MODEL, Category.VALIDATION, Category.CONTEXT_LENGTH]


def usage(source: Source = Source.ENGINE, cached_tokens: int | None = 90) -> Usage:
    return Usage(100, 7, cached_tokens, source, 0.1, 0.2)


def answer(text: str = "Hello.", **fields: Any) -> Answer:
    return Answer(text, **{"reasoning": None, "finish_reason": "stop", "usage": usage()} | fields)


def asked(endpoint: Endpoint, custom_id: str = "c-1", **parameters: object) -> Request:
    return Request(custom_id, endpoint, "m", (), (), parameters, 16)


def written(line: bytes) -> dict[str, Any]:
    assert b"\n" not in line
    value = json.loads(line)
    assert list(value) == ["id", "custom_id", "response", "error"]
    assert isinstance(value, dict)
    return value


def body(endpoint: Endpoint, given_answer: Answer, **parameters: object) -> dict[str, Any]:
    value = written(result_line(asked(endpoint, "c-1", **parameters), given_answer, ID, 1_700_000_000.7))
    inner = value["response"]["body"]
    assert isinstance(inner, dict)
    return inner


def test_a_result_line_has_openais_envelope() -> None:
    value = written(result_line(asked(Endpoint.CHAT), answer(), ID, 1_700_000_000))
    response = value.pop("response")
    assert value == {"id": f"batch_req_{ID}", "custom_id": "c-1", "error": None}
    assert (response["status_code"], response["request_id"]) == (200, f"req_{ID}")
    assert list(response) == ["status_code", "request_id", "body"]


def test_the_real_package_reads_a_chat() -> None:
    raw = body(Endpoint.CHAT, answer(finish_reason="length"))
    completion = ChatCompletion.model_validate(raw, strict=True)
    assert (completion.id, completion.created, completion.model) == (f"chatcmpl-{ID}", 1_700_000_000, "m")
    assert completion.choices[0].message.content == "Hello."
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 107
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 90
    assert raw["choices"][0]["message"] == {"role": "assistant", "content": "Hello.", "refusal": None}
    assert raw["choices"][0]["logprobs"] is None


def test_thoughts_stand_beside_the_answer() -> None:
    raw = body(Endpoint.CHAT, answer(reasoning="Let me see."))
    assert raw["choices"][0]["message"]["reasoning_content"] == "Let me see."
    ChatCompletion.model_validate(raw, strict=True)


def test_a_number_of_reasoning_tokens_is_given_only_where_it_is_known() -> None:
    assert body(Endpoint.CHAT, answer())["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert body(Endpoint.CHAT, answer(reasoning="x"))["usage"]["completion_tokens_details"] is None


@pytest.mark.parametrize(
    ("source", "cached", "details"),
    [
        (Source.ENGINE, 0, {"cached_tokens": 0, "cached_tokens_source": "engine"}),
        (Source.LOG, 80, {"cached_tokens": 80, "cached_tokens_source": "log"}),
        (Source.UNKNOWN, None, {"cached_tokens_source": "unknown"}),
    ],
)
def test_only_the_engines_own_count_stands_where_openai_has_it(
    source: Source, cached: int | None, details: dict[str, object]
) -> None:
    raw = body(Endpoint.CHAT, answer(usage=usage(source, cached)))
    assert raw["usage"]["prompt_tokens_details"] == details
    ChatCompletion.model_validate(raw, strict=True)


def test_the_real_package_reads_a_completion() -> None:
    completion = Completion.model_validate(body(Endpoint.COMPLETIONS, answer()), strict=True)
    assert (completion.id, completion.choices[0].text) == (f"cmpl-{ID}", "Hello.")
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 7


def test_the_real_package_reads_embeddings() -> None:
    vectors = ((0.5, -0.25, 1e-8), (1.0, 0.0, 3.0))
    response = CreateEmbeddingResponse.model_validate(
        body(Endpoint.EMBEDDINGS, answer("", embeddings=vectors)), strict=True
    )
    assert [item.embedding for item in response.data] == [list(vector) for vector in vectors]
    assert [item.index for item in response.data] == [0, 1]
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (100, 100)


def test_base64_is_of_little_endian_32_bit_floats() -> None:
    raw = body(Endpoint.EMBEDDINGS, answer("", embeddings=((0.5, -0.25),)), encoding_format="base64")
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert struct.unpack("<2f", packed) == (0.5, -0.25)


def test_where_an_alias_stood_in_the_file_the_model_that_answered_is_named() -> None:
    line = result_line(asked(Endpoint.CHAT), answer(), ID, 1, "llama3.2:1b")
    assert written(line)["response"]["body"]["model"] == "llama3.2:1b"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS, st.sampled_from(list(Endpoint)))
def test_custom_id_and_text_come_back_letter_for_letter(
    custom_id: str, text: str, endpoint: Endpoint
) -> None:
    value = written(result_line(asked(endpoint, custom_id), answer(text), ID, 1))
    assert value["custom_id"] == custom_id
    if endpoint is Endpoint.CHAT:
        assert value["response"]["body"]["choices"][0]["message"]["content"] == text


@given(TEXTS)
def test_error_lines_keep_the_custom_id_letter_for_letter(custom_id: str) -> None:
    fault = LineFault(1, "c", "m", custom_id=custom_id)
    assert written(line_fault_line(fault, ID))["custom_id"] == custom_id
    lost = ModelFault(Category.CRASH, "m", is_temporary=True)
    assert written(model_fault_line(custom_id, 1, lost, ID))["custom_id"] == custom_id


def test_a_refused_line_that_has_a_custom_id_is_a_400() -> None:
    fault = LineFault(4, "invalid_value", "Too hot.", "body.temperature", "c-1")
    assert written(line_fault_line(fault, ID)) == {
        "id": f"batch_req_{ID}",
        "custom_id": "c-1",
        "response": {
            "status_code": 400,
            "request_id": f"req_{ID}",
            "body": {
                "error": {
                    "message": "Too hot.",
                    "type": "invalid_request_error",
                    "param": "body.temperature",
                    "code": "invalid_value",
                }
            },
        },
        "error": None,
    }


def test_a_line_without_a_custom_id_has_no_response() -> None:
    value = written(line_fault_line(LineFault(4, "invalid_json_line", "Not JSON."), ID))
    assert (value["custom_id"], value["response"]) == (None, None)
    assert value["error"] == {"code": "invalid_json_line", "message": "Not JSON.", "line": 4}


@pytest.mark.parametrize("category", list(Category))
def test_every_category_is_either_a_400_or_no_response(category: Category) -> None:
    value = written(model_fault_line("c-1", 9, ModelFault(category, "Why.", is_temporary=False), ID))
    assert (category in UNANSWERED) is (value["response"] is None) is (value["error"] is not None)
    assert (category in UNANSWERED) is (category not in REFUSED)
    if category in REFUSED:
        assert value["response"]["status_code"] == 400
        assert value["response"]["body"]["error"]["message"] == "Why."


@pytest.mark.parametrize(
    ("category", "code", "message"),
    [
        (Category.OOM, "oom", "Why."),
        (Category.TIMEOUT, "timeout", "Why."),
        (Category.CRASH, "crash", "Why."),
        (Category.SERVER, "server", "Why."),
        (Category.NETWORK, "network", "Why."),
        (Category.RUNAWAY, "runaway", "Why."),
        (
            Category.EXPIRED,
            "batch_expired",
            "This request could not be executed before the completion window expired.",
        ),
        (
            Category.CANCELLED,
            "batch_cancelled",
            "This request was not executed because the batch was cancelled.",
        ),
    ],
)
def test_a_request_without_an_answer_says_why(category: Category, code: str, message: str) -> None:
    fault = ModelFault(category, "Why.", is_temporary=False)
    error = written(model_fault_line("c-1", 9, fault, ID))["error"]
    assert error == {"code": code, "message": message, "line": 9}


@pytest.mark.parametrize(
    ("category", "code", "expected"),
    [
        (Category.MODEL, None, "model_error"),
        (Category.MODEL, "model_not_found", "model_not_found"),
        (Category.VALIDATION, None, "invalid_request"),
        (Category.CONTEXT_LENGTH, None, "context_length_exceeded"),
    ],
)
def test_a_refusal_of_the_model_has_a_code(category: Category, code: str | None, expected: str) -> None:
    fault = ModelFault(category, "Why.", is_temporary=False, code=code)
    error = written(model_fault_line("c-1", 9, fault, ID))["response"]["body"]["error"]
    assert error == {"message": "Why.", "type": "invalid_request_error", "param": None, "code": expected}


def test_a_lowered_bound_stands_beside_the_answer() -> None:
    told = written(result_line(asked(Endpoint.CHAT), answer(), ID, 0.0, lowered_bound=30_505))["response"]
    assert (told["lowered_bound"], "server" in told) == (30_505, False)
    assert "lowered_bound" not in written(result_line(asked(Endpoint.CHAT), answer(), ID, 0.0))["response"]


def test_the_code_of_a_fault_goes_before_that_of_its_category() -> None:
    fault = ModelFault(Category.SERVER, "Why.", is_temporary=True, code="token_repeat")
    assert written(model_fault_line("c-1", 9, fault, ID))["error"]["code"] == "token_repeat"


def test_the_identity_of_a_line_is_the_same_whenever_it_is_written() -> None:
    batch_id = "batch_" + "a" * 32
    assert request_id(batch_id, 255) == "a" * 32 + "000000ff"
    assert len({request_id(batch_id, index) for index in range(1_000)}) == 1_000


def test_no_reader_finds_the_end_of_a_line_inside_of_a_result() -> None:
    ends = "a\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b"
    for line in (
        result_line(asked(Endpoint.CHAT, ends), answer(ends), ID, 0.0),
        line_fault_line(LineFault(1, "invalid_value", ends, None, ends), ID),
    ):
        assert line.decode().splitlines() == [line.decode()]
        assert written(line)["custom_id"] == ends
    assert body(Endpoint.CHAT, answer(ends))["choices"][0]["message"]["content"] == ends


def test_the_server_is_named_beside_the_body_which_openais_reader_never_sees() -> None:
    value = written(result_line(asked(Endpoint.CHAT), answer(), ID, 1_700_000_000, None, "http://a:1"))
    assert list(value["response"]) == ["status_code", "request_id", "body", "server"]
    assert value["response"]["server"] == "http://a:1"
    ChatCompletion.model_validate(value["response"]["body"], strict=True)
