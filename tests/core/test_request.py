import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchd.core.fault import LineFault
from batchd.core.parameters import TRANSLATED
from batchd.core.request import (
    MODEL_CHARS_MAX,
    Endpoint,
    LineLimits,
    Message,
    Request,
    parse_line,
)

LIMITS = LineLimits(line_bytes_max=20_000)
NOT_PARSEABLE = "This line is not parseable as valid JSON."

Line = dict[str, object]


def chat(**body: object) -> Line:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    return line(Endpoint.CHAT, {"model": "m:1b", "messages": messages} | body)


def line(url: str, body: object) -> Line:
    return {"custom_id": "é-1", "method": "POST", "url": url, "body": body}


def completion(**body: object) -> Line:
    return line(Endpoint.COMPLETIONS, {"model": "m", "prompt": "Once"} | body)


def embedding(**body: object) -> Line:
    return line(Endpoint.EMBEDDINGS, {"model": "m", "input": ["a", "b"]} | body)


def without(value: Line, name: str) -> Line:
    return {key: inner for key, inner in value.items() if key != name}


def parse(value: Line | bytes, endpoint: Endpoint | None = None) -> Request | LineFault:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_line(raw, 7, LIMITS, endpoint)


def good(value: Line | bytes, endpoint: Endpoint | None = None) -> Request:
    request = parse(value, endpoint)
    assert isinstance(request, Request), request
    return request


def bad(value: Line | bytes, endpoint: Endpoint | None = None) -> LineFault:
    fault = parse(value, endpoint)
    assert isinstance(fault, LineFault), fault
    return fault


def test_a_chat_is_read() -> None:
    assert good(chat(temperature=0, stop="\n", max_completion_tokens=16)) == Request(
        "é-1",
        Endpoint.CHAT,
        "m:1b",
        (Message("system", "Be brief."), Message("user", "Hello")),
        (),
        {"temperature": 0.0, "stop": ("\n",)},
        16,
    )


def test_a_completion_is_read() -> None:
    assert good(completion()) == Request("é-1", Endpoint.COMPLETIONS, "m", (), ("Once",), {}, 1024)


def test_an_embedding_is_read_and_has_no_bound() -> None:
    request = good(embedding(encoding_format="base64"))
    expected = Request("é-1", Endpoint.EMBEDDINGS, "m", (), ("a", "b"), {"encoding_format": "base64"}, 0)
    assert request == expected


def test_other_keys_of_the_line_and_stream_false_are_accepted() -> None:
    assert good(chat(stream=False) | {"priority": 3, "x": {}}) == good(chat()) == good(chat(stream=None))


def test_spaces_and_a_carriage_return_around_the_line_are_fine() -> None:
    assert good(b"  " + json.dumps(chat()).encode() + b" \r") == good(chat())


def test_the_default_bound_is_the_operators() -> None:
    request = parse_line(json.dumps(chat()).encode(), 1, LineLimits(completion_tokens_default=9), None)
    assert isinstance(request, Request)
    assert request.completion_tokens_max == 9


def test_the_limits_are_those_that_the_documentation_names() -> None:
    assert LineLimits() == LineLimits(8 * 2**20, 1024)


TEXT = json.dumps(chat())

BROKEN: list[tuple[str, Line | bytes, str, str | None]] = [
    ("blank", b"", "invalid_json_line", None),
    ("words", b"hello", "invalid_json_line", None),
    ("cut off", TEXT[:-2].encode(), "invalid_json_line", None),
    ("two objects", TEXT.encode() * 2, "invalid_json_line", None),
    ("single quotes", b"{'custom_id': 'a'}", "invalid_json_line", None),
    ("byte-order mark", b"\xef\xbb\xbf" + TEXT.encode(), "invalid_json_line", None),
    ("not UTF-8", TEXT.replace("Hello", "\xff").encode("latin-1"), "invalid_json_line", None),
    ("UTF-16", TEXT.encode("utf-16"), "invalid_json_line", None),
    ("NaN", TEXT.replace('"Hello"', "NaN").encode(), "invalid_json_line", None),
    ("lone surrogate", TEXT.replace("Hello", "\\ud83d").encode(), "invalid_json_line", None),
    ("too deep", TEXT.replace('"Hello"', "[" * 300 + "]" * 300).encode(), "invalid_json_line", None),
    ("array", b"[1]", "invalid_json_line", None),
    ("null", b"null", "invalid_json_line", None),
    ("doubled key", TEXT.replace('"model"', '"model": "x", "model"').encode(), "invalid_json_line", None),
    ("big integer", chat(seed=2**64), "invalid_json_line", None),
    ("too long", chat(user="x" * 20_000), "line_too_long", None),
    ("no custom_id", without(chat(), "custom_id"), "missing_required_parameter", "custom_id"),
    ("no method", without(chat(), "method"), "missing_required_parameter", "method"),
    ("no url", without(chat(), "url"), "missing_required_parameter", "url"),
    ("no body", without(chat(), "body"), "missing_required_parameter", "body"),
    ("null body", chat() | {"body": None}, "missing_required_parameter", "body"),
    ("custom_id is a number", chat() | {"custom_id": 5}, "invalid_type", "custom_id"),
    ("custom_id is empty", chat() | {"custom_id": ""}, "invalid_value", "custom_id"),
    ("method is a list", chat() | {"method": ["POST"]}, "invalid_type", "method"),
    ("method is GET", chat() | {"method": "GET"}, "invalid_value", "method"),
    ("url is a number", chat() | {"url": 1}, "invalid_type", "url"),
    ("url is unknown", chat() | {"url": "/v1/responses"}, "invalid_url", "url"),
    ("url with a host", chat() | {"url": "https://h/v1/chat/completions"}, "invalid_url", "url"),
    ("body is a string", chat() | {"body": "{}"}, "invalid_type", "body"),
    ("no model", line(Endpoint.CHAT, {"messages": []}), "invalid_request", "body.model"),
    ("model is empty", chat(model=""), "invalid_request", "body.model"),
    ("model is a number", chat(model=4), "invalid_type", "body.model"),
    ("no messages", chat(messages=None), "invalid_request", "body.messages"),
    ("empty messages", chat(messages=[]), "invalid_value", "body.messages"),
    ("messages is a text", chat(messages="hi"), "invalid_type", "body.messages"),
    ("no role", chat(messages=[{"content": "x"}]), "missing_required_parameter", "body.messages[0].role"),
    ("role", chat(messages=[{"role": "x", "content": "x"}]), "invalid_value", "body.messages[0].role"),
    (
        "null content",
        chat(messages=[{"role": "user", "content": None}]),
        "invalid_type",
        "body.messages[0].content",
    ),
    ("tool role", chat(messages=[{"role": "tool"}]), "unsupported_parameter", "body.messages[0].role"),
    ("stream", chat(stream=True), "streaming_unsupported", "body.stream"),
    ("stream is a text", chat(stream="yes"), "invalid_type", "body.stream"),
    ("temperature", chat(temperature=3), "invalid_value", "body.temperature"),
    ("temperature is a text", chat(temperature="0"), "invalid_type", "body.temperature"),
    ("bound is zero", chat(max_tokens=0), "invalid_value", "body.max_tokens"),
    ("two bounds", chat(max_tokens=1, max_completion_tokens=2), "invalid_value", "body.max_tokens"),
    ("n", chat(n=3), "unsupported_parameter", "body.n"),
    ("tools", chat(tools=[{"type": "function"}]), "unsupported_parameter", "body.tools"),
    ("unknown parameter", chat(num_predict=3), "unsupported_parameter", "body.num_predict"),
    ("no prompt", completion(prompt=None), "invalid_request", "body.prompt"),
    ("two prompts", completion(prompt=["a", "b"]), "unsupported_parameter", "body.prompt"),
    ("no input", embedding(input=None), "invalid_request", "body.input"),
    ("tokens", embedding(input=[1, 2]), "unsupported_parameter", "body.input"),
    ("empty input", embedding(input=["a", ""]), "invalid_value", "body.input[1]"),
    ("dimensions", embedding(dimensions=-1), "invalid_value", "body.dimensions"),
]


@pytest.mark.parametrize(
    ("value", "code", "param"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_each_kind_of_broken_line_has_its_code(value: Line | bytes, code: str, param: str | None) -> None:
    fault = bad(value)
    assert (fault.code, fault.param, fault.line) == (code, param, 7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"{", NOT_PARSEABLE),
        (b"[]", f"{NOT_PARSEABLE} Reason: it is not an object."),
        (b'{"a":1,"a":2}', f"{NOT_PARSEABLE} Reason: the key 'a' is doubled."),
        (b'{"custom_id":"a"}', "Missing required parameter: 'method'."),
        (chat(model=None), "Model parameter is required."),
        (chat(messages=None), "Messages parameter is required."),
        (chat(stream=True), "Chat Completions: Streaming is not supported in the Batch API."),
        (completion(stream=True), "Completions: Streaming is not supported in the Batch API."),
    ],
)
def test_messages_are_openais_where_it_has_one(value: Line | bytes, message: str) -> None:
    assert bad(value).message == message


def test_the_url_of_the_batch_is_that_of_its_first_valid_line() -> None:
    assert good(completion(), Endpoint.COMPLETIONS) == good(completion())
    fault = bad(completion(), Endpoint.CHAT)
    assert fault == LineFault(
        7, "invalid_url", "The URL provided for this request does not match the batch endpoint.", "url", "é-1"
    )


def test_an_unknown_url_is_told_which_there_are() -> None:
    message = bad(chat() | {"url": "/v1/images"}).message
    assert message.endswith(
        "batchd answers /v1/chat/completions, /v1/completions, /v1/embeddings, and not '/v1/images'."
    )


@pytest.mark.parametrize(
    ("value", "custom_id"),
    [
        (chat(n=2), "é-1"),
        (without(chat(), "body"), "é-1"),
        (chat() | {"custom_id": ""}, ""),
        (chat() | {"custom_id": 5}, None),
        (without(chat(), "custom_id"), None),
        (chat(seed=2**70), "é-1"),
        (b'{"custom_id":"a","body":{"n":1,"n":2}}', "a"),
        (b'{"custom_id":"a","custom_id":"b"}', None),
        (b'{"custom_id":"a","body":"\\ud800"}', "a"),
        (b'{"custom_id":"a","body":NaN}', "a"),
        (b'{"custom_id":"a","body":1e999}', "a"),
        (b'{"custom_id":"a\\ud800","body":1}', None),
        (b'{"custom_id":"a","body":' + b"[" * 300 + b"]" * 300 + b"}", None),
        (b'{"custom_id":"a","b":' + b"[" * 1_000 + b"]" * 1_000 + b',"b":1}', None),
        (b'{"custom_id":"a"', None),
        (b'["custom_id"]', None),
    ],
)
def test_the_custom_id_is_kept_wherever_it_can_be_read(value: Line | bytes, custom_id: str | None) -> None:
    assert bad(value).custom_id == custom_id


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_a_fault(raw: bytes) -> None:
    assert isinstance(parse(raw), LineFault)


@given(
    st.sampled_from([chat(), completion(), embedding(), chat(response_format={"type": "json_object"})]),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
    ),
)
def test_a_damaged_line_gives_a_request_or_a_fault(value: Line, blows: list[tuple[int, int, bytes]]) -> None:
    raw = json.dumps(value).encode()
    for place, length, added in blows:
        raw = raw[:place] + added + raw[place + length :]
    outcome = parse(raw, Endpoint.CHAT)
    assert isinstance(outcome, Request | LineFault)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["model", "messages", "prompt", "input", "stream", *sorted(TRANSLATED), "n", "max_tokens"]
)


@settings(max_examples=50)
@given(st.sampled_from(list(Endpoint)), st.dictionaries(NAMES, JSON_VALUES, max_size=5))
def test_a_body_of_any_values_gives_a_request_or_a_fault(endpoint: Endpoint, body: Line) -> None:
    messages = [{"role": "user", "content": "x"}]
    raw = json.dumps(line(endpoint, {"model": "m", "messages": messages} | body)).encode()
    outcome = parse_line(raw, 1, LIMITS, endpoint)
    assert isinstance(outcome, Request | LineFault)


@given(st.sampled_from(["messages", "content", "part"]), JSON_VALUES)
def test_messages_of_any_values_give_a_request_or_a_fault(where: str, value: object) -> None:
    content = {"messages": "x", "content": value, "part": [value, {"type": "text", "text": value}]}[where]
    messages = value if where == "messages" else [{"role": "user", "content": content}]
    assert isinstance(parse(chat(messages=messages)), Request | LineFault)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_custom_id_is_taken_letter_for_letter(custom_id: str) -> None:
    assert good(chat() | {"custom_id": custom_id}).custom_id == custom_id


def test_a_model_has_a_name_and_not_a_text() -> None:
    assert good(chat(model="m" * MODEL_CHARS_MAX)).model == "m" * MODEL_CHARS_MAX
    fault = bad(chat(model="m" * (MODEL_CHARS_MAX + 1)))
    assert (fault.code, fault.param) == ("invalid_value", "body.model")
    assert str(MODEL_CHARS_MAX) in fault.message
