"""Salvage: what a finished result line still says of itself, when the counters of its journal are lost.

SUMMARY
    `read_back` is for lines that were found in a damaged journal: whose they are, and what they cost. Times
    and faults stand in no result line, so they are not counted again.

DIAGNOSTICS
    None: a line that cannot be read belongs to nobody.
"""

from collections.abc import Mapping

from batchd.core.json import loads
from batchd.core.record import NO_SPENT, Spent, spent_on_rejected
from batchd.core.rejection import parted
from batchd.core.vectors import zeros_in


def read_back(line: bytes) -> tuple[str | None, Spent]:
    """The custom_id, and the tokens as the line has them."""
    line, _ = parted(line)
    try:
        found = loads(line)
    except ValueError:
        return None, NO_SPENT
    custom_id = _at(found, "custom_id")
    reason = _at(_at(found, "error"), "reason")
    if reason is not None:
        return _text(custom_id), spent_on_rejected(str(reason))
    response = _at(found, "response")
    body = _at(response, "body")
    usage = _at(body, "usage")
    if not isinstance(usage, Mapping):
        return _text(custom_id), NO_SPENT
    details = _at(usage, "prompt_tokens_details")
    source = _at(details, "cached_tokens_source")
    choices = _at(body, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    text = _text(_at(_at(choice, "message"), "content")) or _text(_at(choice, "text"))
    spent = Spent(
        prompt_tokens=_count(_at(usage, "prompt_tokens")),
        completion_tokens=_count(_at(usage, "completion_tokens")),
        cached_tokens=_count(_at(details, "cached_tokens")),
        empty_answers=int(choice is not None and not (text or "").strip()),
        cut_answers=int(_at(choice, "finish_reason") == "length"),
        unknown_answers=int(source not in ("engine", "log", "deduplicated")),
        deduplicated_answers=int(source == "deduplicated"),
        lowered_answers=int(isinstance(_at(response, "lowered_bound"), int)),
        zero_answers=int(zeros_in(_at(body, "data"))),
    )
    return _text(custom_id), spent


def _at(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
