import struct
from base64 import b64encode

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Endpoint, Request
from batchd.core.vectors import held, length_of, zeros_in


def asking(**parameters: object) -> Request:
    return Request("a", Endpoint.EMBEDDINGS, "m", (), ("one", "two"), parameters, 0)


def answer(*vectors: tuple[float, ...]) -> Answer:
    usage = Usage(3, 0, None, Source.UNKNOWN, None, None)
    return Answer("", None, "stop", usage, vectors)


@pytest.mark.parametrize(
    ("dimensions", "length"), [(None, 4), (2, 2), (4, 4), (99, 4)], ids=["none", "less", "all", "more"]
)
def test_vectors_are_as_long_as_the_model_has_them_or_as_was_asked_for(
    dimensions: int | None, length: int
) -> None:
    request = asking() if dimensions is None else asking(dimensions=dimensions)
    assert length_of(request, 4) == length
    good = answer((0.5,) * length, (0.25,) * length)
    assert held(request, good, 4) is good
    fault = held(request, answer((0.5,) * 3, (0.5,) * 3), 4)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)
    assert f"3 numbers, and those of this model have {length}" in fault.message


@pytest.mark.parametrize(
    ("vectors", "is_zero"),
    [
        (((0.0, 0.0), (1.0, 0.0)), True),
        (((0.0, -0.0),), True),
        (((0.0, 1e-30),), False),
        ((), False),
    ],
)
def test_a_vector_of_zeros_is_seen_in_the_answer_and_in_its_line(
    vectors: tuple[tuple[float, ...], ...], is_zero: bool
) -> None:
    assert answer(*vectors).has_zeros is is_zero
    assert zeros_in([{"embedding": list(vector)} for vector in vectors]) is is_zero
    packed = [b64encode(struct.pack("<2f", *vector)).decode() for vector in vectors]
    assert zeros_in([{"embedding": text} for text in packed]) is is_zero


@pytest.mark.parametrize("data", [None, {}, [1], [{}], [{"embedding": "no base64!"}], [{"embedding": 7}]])
def test_a_line_that_is_none_has_no_zeros(data: object) -> None:
    assert not zeros_in(data)
