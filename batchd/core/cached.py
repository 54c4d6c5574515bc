"""Cached: what may be said of the tokens that were not read again, from the counters of a batch.

SUMMARY
    computed         answers that the model gave
    cached_source    how sure the sum of cached tokens is, and with it that of evaluated ones
    saved_share      the share of prompt tokens that was not read again
    share_words      that for people

    The sum is exact where every answer has a count. An answer without one is summed as read in full. A few
    of those make the sum an estimate, as long as they cannot move it by more than a fifth; more of them, and
    nothing is claimed. A guess from how long a prompt took is none: beside other slots and on a busy machine
    it was wrong by up to ten times (measured: Ollama 0.33.0-rc2, 4 slots).

DIAGNOSTICS
    None: values in, values out.
"""

from batchd.core.model import Source
from batchd.core.record import Progress

#: An estimate may be off by so much of the true number.
OFF_MAX = 0.2

#: Of answers without a count only their number is known; their prompts may be longer than the others'.
_LONGER = 2.0


def computed(progress: Progress) -> int:
    """Answers that the model gave: without copies, which may be of errors too."""
    return max(0, progress.completed - progress.spent.deduplicated_answers)


def cached_source(progress: Progress, unknown_tokens: int = 0) -> Source:
    """`unknown_tokens`: of prompts whose answers were not taken, and of which nobody says what was cached."""
    spent = progress.spent
    if spent.estimated_answers:
        return Source.UNKNOWN
    if not spent.unknown_answers and not unknown_tokens:
        return Source.ENGINE
    mean = spent.prompt_tokens / max(1, computed(progress))
    doubtful = spent.unknown_answers * mean * _LONGER + unknown_tokens
    read_min = spent.prompt_tokens - spent.cached_tokens - doubtful
    is_bounded = doubtful <= OFF_MAX * min(read_min, spent.cached_tokens)
    return Source.ESTIMATE if is_bounded else Source.UNKNOWN


def saved_share(progress: Progress) -> float | None:
    """None where nobody knows."""
    spent = progress.spent
    if not spent.prompt_tokens or cached_source(progress) is Source.UNKNOWN:
        return None
    return spent.cached_tokens / spent.prompt_tokens


def share_words(share: float | None, is_estimated: bool, digits: int = 0) -> str:
    """`97%`, by an estimate `about 97%`; empty where nobody knows."""
    return "" if share is None else f"{'about ' * is_estimated}{share:.{digits}%}"
