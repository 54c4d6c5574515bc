from collections.abc import AsyncGenerator

import pytest

from batchd.core.body import (
    BODY_BYTES_MAX,
    ERROR_BYTES_MAX,
    HEADERS,
    VALUES_MAX,
    Body,
    answer_bytes_max,
    received,
    refused_head,
    told_bytes_max,
    with_wait,
)
from batchd.core.fault import Category, ModelFault
from batchd.core.request import Endpoint, Request


def request(endpoint: Endpoint, bound: int, inputs: int = 0) -> Request:
    return Request("a", endpoint, "m", (), ("x",) * inputs, {}, bound)


def test_an_answer_may_be_as_long_as_what_was_asked_for() -> None:
    short = answer_bytes_max(request(Endpoint.CHAT, 16))
    long = answer_bytes_max(request(Endpoint.CHAT, 4_096))
    assert short < 100_000
    assert 4_096 * 256 * 4 <= long < 5_000_000
    assert answer_bytes_max(request(Endpoint.EMBEDDINGS, 0, inputs=2)) >= 2 * 16_384 * 25


@pytest.mark.parametrize(
    "bytes_max",
    [
        answer_bytes_max(request(Endpoint.CHAT, 2**31)),
        answer_bytes_max(request(Endpoint.EMBEDDINGS, 0, inputs=2_048)),
        told_bytes_max(8 * 2**20),
    ],
    ids=["tokens", "vectors", "a long line"],
)
def test_no_reply_is_longer_than_64_mib_whatever_was_asked_for(bytes_max: int) -> None:
    assert bytes_max == BODY_BYTES_MAX == 64 * 2**20


def test_a_text_may_be_told_as_the_numbers_of_its_bytes() -> None:
    assert told_bytes_max(1_000) >= 1_000 * len("128000,")


def test_a_body_is_kept_up_to_its_bound_and_not_a_byte_beyond() -> None:
    body = Body(10)
    assert body.add(b"12345")
    assert body.add(b"67890")
    assert (body.content, body.is_too_long) == (b"1234567890", False)
    assert not body.add(b"x" * 2**20)
    assert not body.add(b"y" * 2**20)
    assert (body.content, body.is_too_long) == (b"1234567890", True)
    assert repr(body) == "Body(11 of 10 bytes)"
    fault = body.refused()
    assert fault is not None
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)
    assert "10 bytes" in fault.message


@pytest.mark.parametrize("piece", [b"[],", b"0,", b'{"a":0},', b"[[["])
def test_a_body_of_more_values_than_anybody_asks_for_is_not_read(piece: bytes) -> None:
    """Within the bound of its bytes: what is read of it would be thirty times as much."""
    marks = sum(piece.count(mark) for mark in b"[{,")
    body = Body(BODY_BYTES_MAX)
    body.add(piece * (VALUES_MAX // marks))
    assert body.refused() is None
    body.add(piece * 2)
    fault = body.refused()
    assert fault is not None
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)
    assert f"more than {VALUES_MAX} values" in fault.message


def test_vectors_as_long_as_a_body_may_be_are_read() -> None:
    body = Body(BODY_BYTES_MAX)
    body.add(b"-0.0123456," * (BODY_BYTES_MAX // 11))
    assert body.refused() is None


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_a_plain_reply_is_read(encoding: str) -> None:
    assert HEADERS["Accept-Encoding"] == "identity"
    assert refused_head(200, {"content-encoding": encoding}) is None
    assert refused_head(500, {}) is None


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "identity, gzip", "x" * 10_000])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    fault = refused_head(200, {"content-encoding": encoding})
    assert fault is not None
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)
    assert encoding[:20] in fault.message
    assert len(fault.message) < 400


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
def test_a_redirect_is_refused_and_names_where_it_leads(status: int) -> None:
    fault = refused_head(status, {"location": "https://elsewhere.example/\x1b[2J"})
    assert fault is not None
    assert (fault.category, fault.needs_operator, fault.is_server_lost) == (Category.MODEL, True, True)
    assert f"{status} and sends on to https://elsewhere.example/\\x1b[2J" in fault.message
    nowhere = refused_head(status, {})
    assert nowhere is not None
    assert "nowhere" in nowhere.message


BUSY = ModelFault(Category.NETWORK, "busy", is_temporary=True)
DATE = "Sun, 29 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Sun, 29 Nov 2026 10:02:00 GMT", "date": DATE}, 120.0),
        ({"retry-after": "Sun, 29 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sun, 29 Nov 2026 10:02:00 GMT"}, None),
        ({"retry-after": "Sun, 29 Nov 2026 10:02:00 -0000", "date": DATE}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "\u0663"}, None),
        ({}, None),
    ],
)
def test_a_server_may_say_how_long_it_is_to_be_left_alone(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert with_wait(BUSY, headers).retry_after_s == wait_s


def test_a_very_long_number_is_a_long_wait_and_nothing_worse() -> None:
    assert with_wait(BUSY, {"retry-after": "9" * 5_000}).retry_after_s == 999_999_999_999.0


def test_a_fault_that_is_no_refusal_for_now_has_no_wait() -> None:
    for fault in (
        ModelFault(Category.SERVER, "no", is_temporary=True),
        ModelFault(Category.NETWORK, "away", is_temporary=True, is_server_lost=True),
    ):
        assert with_wait(fault, {"retry-after": "7"}) == fault


@pytest.mark.parametrize(
    ("status", "headers", "pieces_read"),
    [(200, {}, 3), (500, {}, ERROR_BYTES_MAX // 4 + 1), (302, {}, 0), (200, {"content-encoding": "gzip"}, 0)],
    ids=["an answer", "an error", "a redirect", "an encoding"],
)
async def test_no_more_is_read_than_may_be_and_the_rest_is_closed(
    status: int, headers: dict[str, str], pieces_read: int
) -> None:
    told: list[str] = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                told.append("read")
                yield b"1234"
        finally:
            told.append("closed")

    body = await received(status, headers, endless(), 10)
    assert told == ["read"] * pieces_read + ["closed"] * bool(pieces_read)
    assert isinstance(body, Body) == bool(pieces_read)
    assert isinstance(body, ModelFault) or body.is_too_long
