"""Options of one batch: what may stand in NAME.options.json.

SUMMARY
    An object with these keys and no others; an unknown key fails the batch with the nearest known name,
    because an option that is silently ignored is a wrong answer.

DIAGNOSTICS
    None raised: a bad file is a list of refusals.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from itertools import islice

from batchd.core.fault import Refusal
from batchd.core.json import JsonFault, loads_strict
from batchd.core.strategy import Strategy
from batchd.core.validity import Answers

_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}")

#: OpenAI's bounds for metadata.
_METADATA_PAIRS_MAX = 16
_METADATA_KEY_CHARS_MAX = 64
_METADATA_VALUE_CHARS_MAX = 512

#: Characters of an unknown key that are shown, and keys that are named: a stranger's file decides neither how
#: long the results are nor how long the nearest names, key by key, are looked for.
_KEY_CHARS_SHOWN = 64
_UNKNOWN_NAMED_MAX = 16

#: A pilot of more lines is no pilot.
PILOT_LINES_MAX = 1_000

_WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Options:
    """What the submitter asked for. None: as the operator set it."""

    batch_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    completion_window: str = "24h"
    strict: bool | None = None
    deduplicate: bool | None = None
    pilot: int | None = None
    pilot_confirm: bool = False
    strategy: str | None = None
    answers: str | None = None


_KNOWN = tuple(item.name for item in fields(Options))

#: Those that say when a batch runs and never what it answers: with others it is the same batch.
UNANSWERING = frozenset({"pilot", "pilot_confirm"})


def is_batch_id(text: str) -> bool:
    """`batch_` and 32 hex digits."""
    return _BATCH_ID.fullmatch(text) is not None


def window_s(completion_window: str) -> int:
    """`24h` in seconds; the text was checked at intake."""
    match = _WINDOW.fullmatch(completion_window)
    assert match, completion_window
    return int(match[1]) * _UNIT_S[match[2]]


def parse_options(raw: bytes | None) -> tuple[Options, list[Refusal]]:
    """The options, and why the batch must fail if it must. None: there is no options file."""
    if raw is None:
        return Options(), []
    try:
        value = loads_strict(raw)
    except JsonFault as fault:
        return Options(), [_refuse(None, f"The options file is not usable JSON: {fault}.")]
    if not isinstance(value, dict):
        return Options(), [_refuse(None, "The options file must hold one JSON object.")]
    refusals = _unknown(key for key in value if key not in _KNOWN)
    checks: dict[str, Callable[[object], str]] = {
        "batch_id": _batch_id,
        "metadata": _metadata,
        "completion_window": _completion_window,
        "strict": _yes_or_no("strict"),
        "deduplicate": _yes_or_no("deduplicate"),
        "pilot": _pilot,
        "pilot_confirm": _yes_or_no("pilot_confirm"),
        "strategy": _strategy,
        "answers": _answers,
    }
    refusals += [
        _refuse(key, message)
        for key, check in checks.items()
        if value.get(key) is not None and (message := check(value[key]))
    ]
    known = {key: value[key] for key in _KNOWN if value.get(key) is not None}
    return (Options(), refusals) if refusals else (Options(**known), [])


def peek_batch_id(raw: bytes | None) -> str | None:
    """The batch id in an options file, if it has a good one; for the claim, which comes before the checks."""
    return parse_options(raw)[0].batch_id


def _refuse(key: str | None, message: str) -> Refusal:
    return Refusal("invalid_options", message, key)


def _unknown(keys: Iterator[str]) -> list[Refusal]:
    refusals = [_unknown_one(key[:_KEY_CHARS_SHOWN]) for key in islice(keys, _UNKNOWN_NAMED_MAX)]
    left = sum(1 for _ in keys)
    return [*refusals, _refuse(None, f"{left} more options are unknown.")] if left else refusals


def _unknown_one(key: str) -> Refusal:
    near = get_close_matches(key, _KNOWN, 1)
    hint = f" Did you mean '{near[0]}'?" if near else f" Known are: {', '.join(_KNOWN)}."
    return _refuse(key, f"Unknown option '{key}'.{hint}")


def _batch_id(value: object) -> str:
    is_good = isinstance(value, str) and is_batch_id(value)
    return "" if is_good else "'batch_id' must be 'batch_' and 32 hex digits."


def _yes_or_no(key: str) -> Callable[[object], str]:
    return lambda value: "" if isinstance(value, bool) else f"'{key}' must be true or false."


def _pilot(value: object) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PILOT_LINES_MAX
    return "" if is_count else f"'pilot' must be a number of lines from 0 to {PILOT_LINES_MAX}."


def _strategy(value: object) -> str:
    return "" if value in list(Strategy) else f"'strategy' must be one of {', '.join(Strategy)}."


def _answers(value: object) -> str:
    return "" if value in list(Answers) else f"'answers' must be one of {', '.join(Answers)}."


def _completion_window(value: object) -> str:
    is_good = isinstance(value, str) and _WINDOW.fullmatch(value) is not None
    return "" if is_good else "'completion_window' must be a number with s, m, h or d, such as '24h'."


def _metadata(value: object) -> str:
    if not isinstance(value, dict):
        return "'metadata' must be an object."
    if len(value) > _METADATA_PAIRS_MAX:
        return f"'metadata' has more than {_METADATA_PAIRS_MAX} pairs."
    for key, text in value.items():
        if len(key) > _METADATA_KEY_CHARS_MAX:
            return f"A key of 'metadata' is longer than {_METADATA_KEY_CHARS_MAX} characters."
        if not isinstance(text, str) or len(text) > _METADATA_VALUE_CHARS_MAX:
            return (
                f"A value of 'metadata' must be a string of at most {_METADATA_VALUE_CHARS_MAX} characters."
            )
    return ""
