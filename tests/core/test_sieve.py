"""The sieve: the first valid line decides the url, and under strict the model."""

import io
import json

from batchd.core.fault import LineFault
from batchd.core.lines import Lines
from batchd.core.request import Endpoint, LineLimits, Request
from batchd.core.sieve import MODELS_MAX, Sieve

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
