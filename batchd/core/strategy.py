"""Strategy: how the requests of one batch are put in order, and what each of them gets to read.

SUMMARY
    prefix          requests that begin alike run in the same slot, one after the other; the default
    naive           input order over all slots, and nothing is done to have a beginning read only once. To
                    compare with. A change of model is still made once, not for each line: it is a load.
    conversation    requests with the same system prompt are turns of one chat, so each of them reads the ones
                    before it, and their answers. Those are other answers: only for who wants that.

    An answer is the same under the first two. Intake settles the strategy for the batch and journals it.

DIAGNOSTICS
    Bug: a meta value that intake did not write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from batchd.core.json import loads

#: The meta value of the journal. Journals of before there was a choice lack it.
STRATEGY = "strategy"


class Strategy(StrEnum):
    """The words of options and settings."""

    PREFIX = "prefix"
    NAIVE = "naive"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True)
class Habits:
    """How conversations are cut and trimmed; the reasons stand beside the settings."""

    margin: float = 0.8
    kept_exchanges: int = 10
    trim_requests: int = 50
    trim_share: float = 0.875
    answer_tokens: int = 4_096


def strategy_of(meta: Mapping[str, str]) -> Strategy:
    """The strategy of an accepted batch."""
    return Strategy(str(loads(meta[STRATEGY].encode()))) if STRATEGY in meta else Strategy.PREFIX


def settled(asked: str | None, usual: Strategy) -> Strategy:
    """What a batch asks for, else what the operator set."""
    return usual if asked is None else Strategy(asked)
