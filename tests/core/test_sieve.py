"""The sieve: the first valid line decides the url, and under strict the model."""

import io
import json

from batchd.core.fault import LineFault
from batchd.core.lines import Lines
from batchd.core.request import Endpoint, LineLimits, Request
from batchd.core.sieve import (
    MODELS_MAX,
    SCHEMA_CPU_S_EACH,
    SCHEMAS_CPU_S_MAX,
    SCHEMAS_REMEMBERED_MAX,
    Looked,
    Sieve,
    look,
)

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def line(custom_id: str, url: str = "/v1/chat/completions", model: str = "m", **body: object) -> bytes:
    value = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **(body or CHAT)}}
    return json.dumps(value).encode() + b"\n"


def sort(*lines: bytes, is_strict: bool = False, line_bytes_max: int = 10_000) -> list[str]:
    limits = LineLimits(line_bytes_max=line_bytes_max)
    sieve = Sieve(limits, is_strict)
    sorted_lines = [sieve.sort(item) for item in Lines(io.BytesIO(b"".join(lines)), line_bytes_max)]
    return [item.code if isinstance(item, LineFault) else item.custom_id for item in sorted_lines]


def test_the_first_valid_line_decides_the_url() -> None:
    embedding = line("b", "/v1/embeddings", input="text")
    assert sort(line("a"), embedding) == ["a", "invalid_url"]
    assert sort(embedding, line("a")) == ["b", "invalid_url"]


def test_a_bad_line_does_not_decide_the_url() -> None:
    assert sort(line("a", stream=True), line("b", "/v1/embeddings", input="text"))[1] == "b"


def test_several_models_are_fine_unless_strict() -> None:
    lines = (line("a"), line("b", model="other"), line("c"))
    assert sort(*lines) == ["a", "b", "c"]
    assert sort(*lines, is_strict=True) == ["a", "mismatched_model", "c"]


def test_a_batch_names_so_many_models_and_no_more() -> None:
    lines = [line(f"r{number}", model=f"m{number}") for number in range(MODELS_MAX + 1)]
    found = sort(*lines, line("known", model="m7"), line("late", model=f"m{MODELS_MAX}"))
    assert found[-3:] == ["mismatched_model", "known", "mismatched_model"]
    assert found[:-3] == [f"r{number}" for number in range(MODELS_MAX)]


def test_a_line_over_the_limit_is_one_bad_line() -> None:
    long = line("b", messages=[{"role": "user", "content": "x" * 2_000}])
    assert sort(line("a"), long, line("c"), line_bytes_max=1_000) == ["a", "line_too_long", "c"]


def test_the_sieve_tells_what_it_found() -> None:
    sieve = Sieve(LineLimits(), is_strict=False)
    assert repr(sieve) == "<Sieve no valid line yet>"
    (first,) = Lines(io.BytesIO(line("a")), 10_000)
    assert isinstance(sieve.sort(first), Request)
    assert (sieve.endpoint, sieve.model) == (Endpoint.CHAT, "m")
    assert repr(sieve) == "<Sieve /v1/chat/completions>"


class Looks:
    """Every look takes so long, and finds this."""

    def __init__(self, cpu_s: float = 0.0, reason: str | None = None) -> None:
        self.seen: list[bytes] = []
        self.looked = Looked(reason, cpu_s)

    def __call__(self, schema: bytes) -> Looked:
        self.seen.append(schema)
        return self.looked


def asking(custom_id: str, schema: dict[str, object]) -> bytes:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return line(custom_id, messages=CHAT["messages"], response_format=asked)


def sieved(looks: Looks, *lines: bytes) -> list[Request | LineFault]:
    sieve = Sieve(LineLimits(), False, looks)
    return [sieve.sort(item) for item in Lines(io.BytesIO(b"".join(lines)), 10_000)]


def test_the_schema_of_a_hundred_thousand_lines_is_looked_at_once() -> None:
    looks = Looks()
    lines = [asking(f"r{number}", {"type": "object"}) for number in range(50)]
    assert all(isinstance(item, Request) for item in sieved(looks, *lines, line("plain")))
    assert looks.seen == [b'{"type":"object"}']


def test_a_schema_that_is_none_is_refused_with_its_reason_each_time_it_comes() -> None:
    looks = Looks(reason="it is upside down")
    found = sieved(looks, asking("a", {"x": 1}), asking("b", {"x": 1}))
    assert len(looks.seen) == 1
    for item in found:
        assert isinstance(item, LineFault)
        assert (item.code, item.param) == ("invalid_value", "body.response_format.json_schema.schema")
        assert "it is upside down" in item.message
        assert "$schema" in item.message, "the next step"


def test_verdicts_are_remembered_for_so_many_schemas_only() -> None:
    looks = Looks()
    lines = [asking(f"r{number}", {"const": number}) for number in range(SCHEMAS_REMEMBERED_MAX + 1)]
    sieved(looks, *lines, asking("first again", {"const": 0}))
    assert len(looks.seen) == SCHEMAS_REMEMBERED_MAX + 2


def test_schemas_that_take_too_long_together_are_not_looked_at_any_more() -> None:
    looks = Looks(cpu_s=2.0)
    patience = int(SCHEMAS_CPU_S_MAX / (looks.looked.cpu_s - SCHEMA_CPU_S_EACH)) + 1
    lines = [asking(f"r{number}", {"const": number}) for number in range(10 * patience)]
    found = sieved(looks, *lines, asking("known", {"const": 0}))
    assert len(looks.seen) <= patience + 2
    assert isinstance(found[-2], LineFault)
    assert "took all the time" in found[-2].message
    assert isinstance(found[-1], Request), "what is known costs nothing"


def test_a_look_right_here_says_what_is_wrong() -> None:
    assert look(b"{}").reason is None
    assert look(b'{"$ref": "http://example.com/x"}').reason is not None
