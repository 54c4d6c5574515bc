"""Vectors: what the embeddings of one batch must have in common, and what is said of those that hold nothing.

SUMMARY
    held          an answer with vectors of the length that the model has, or the fault that it is none
    length_of     how long they are to be: the model's length, or the `dimensions` that were asked for
    zeros_in      whether a vector is nothing but zeros, in the `data` of a result line

    The length of a model is what its canary had, before any request; once a batch was begun with it, it is
    that batch's. A vector of zeros is an answer: some models give it for what they do not know. It has no
    direction, so it is counted and said.

DIAGNOSTICS
    None raised.
"""

import binascii
from base64 import b64decode

from batchd.core.fault import ModelFault
from batchd.core.model import Answer
from batchd.core.reply import unreadable
from batchd.core.request import Request

#: The meta value: by model, how long the vectors of this batch are.
LENGTHS = "vector_lengths"

#: What is said of the answers with zeros, behind their number.
ZEROS = "answers have a vector of zeros, which has no direction: nothing can be compared with it"


def length_of(request: Request, model_length: int) -> int:
    """Of each vector in the answer to this request."""
    dimensions = request.parameters.get("dimensions")
    return min(dimensions, model_length) if isinstance(dimensions, int) and dimensions else model_length


def held(request: Request, answer: Answer, model_length: int) -> Answer | ModelFault:
    """The answer, if its vectors can stand beside the others of this batch: within it they are alike."""
    wanted, found = length_of(request, model_length), len(answer.embeddings[0])
    if found == wanted:
        return answer
    return unreadable(f"its vectors have {found} numbers, and those of this model have {wanted}")


def zeros_in(data: object) -> bool:
    """Whether one of its vectors is nothing but zeros, in either encoding."""
    rows = [row.get("embedding") for row in data if isinstance(row, dict)] if isinstance(data, list) else []
    return any(_is_zero(row) for row in rows)


def _is_zero(embedding: object) -> bool:
    if isinstance(embedding, str):
        try:
            return not any(b64decode(embedding, validate=True).replace(b"\x00\x00\x00\x80", b""))
        except (binascii.Error, ValueError):
            return False
    return isinstance(embedding, list) and not any(embedding)
