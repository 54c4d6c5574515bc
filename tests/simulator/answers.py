"""What the simulated model says: made from the prompt alone, so that the same prompt has the same answer.

SUMMARY
    tag_of      twelve hex digits of the last user text; stands at the start of every answer
    tokens_in   a token is four characters
    compose     the answer of a free text, or of a JSON schema
    embed       a unit vector made from the text
    log_probabilities    of each token, where a request asks for them

DIAGNOSTICS
    ValueError: a schema that llama-server would not convert.
"""

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache
from random import Random

import orjson

TOKEN_CHARS = 4
_FILLER = " and so the plain answer goes on"


def tokens_in(text: str) -> int:
    return -(-len(text) // TOKEN_CHARS)


def tag_of(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def compose(last_user_text: str, answer_tokens: int, form: object) -> str:
    """The whole answer, before any bound or stop string."""
    tag = tag_of(last_user_text)
    if form == "json":
        return orjson.dumps({"tag": tag}).decode()
    if isinstance(form, Mapping):
        return orjson.dumps(_instance(form, tag)).decode()
    chars = max(answer_tokens * TOKEN_CHARS, len(tag))
    filler = _FILLER * (-(-(chars - len(tag)) // len(_FILLER)))
    return (tag + filler)[:chars]


def check_schema(form: Mapping[str, object]) -> None:
    """Raises ValueError with the text of llama-server for a schema that it cannot convert."""
    _instance(form, "")


def _instance(schema: Mapping[str, object], tag: str) -> object:
    if isinstance(options := schema.get("enum"), list) and options:
        return options[0]
    match schema.get("type"):
        case "object":
            return _object(schema, tag)
        case "array":
            return []
        case "string":
            return tag
        case "integer" | "number":
            return 5
        case "boolean":
            return True
        case "null" | None:
            return None
        case _:
            raise ValueError(
                f"JSON schema conversion failed:\nUnrecognized schema: {orjson.dumps(schema).decode()}"
            )


def _object(schema: Mapping[str, object], tag: str) -> dict[str, object]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _instance(inner, tag) for name, inner in properties.items() if isinstance(inner, dict)}


def log_probabilities(text: str, top: int) -> list[dict[str, object]]:
    """One entry for each token, as sure of itself as of its rivals."""
    entries = []
    for at in range(0, len(text), TOKEN_CHARS):
        token = text[at : at + TOKEN_CHARS]
        entry: dict[str, object] = {"token": token, "logprob": -1.0, "bytes": list(token.encode())}
        entries.append({**entry, "top_logprobs": [entry] * top})
    return entries


@lru_cache(maxsize=1024)
def embed(text: str, length: int) -> tuple[float, ...]:
    source = Random(text)
    vector = [source.uniform(-1, 1) for _ in range(length)]
    norm = math.sqrt(sum(value * value for value in vector))
    return tuple(value / norm for value in vector)
