"""Flaws: what there is to say of the answers of a batch, for results, log and closing words.

SUMMARY
    counted_answers   the numbers, as they stand in `metrics.json`
    flawed_answers    those that a person must know of, as sentences

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Mapping
from dataclasses import asdict

from batchd.core.overflow import LOWERED
from batchd.core.record import Progress
from batchd.core.runaway import Extra
from batchd.core.vectors import ZEROS

_WORDS = {
    "empty": "answers are empty.",
    "cut_at_bound": "answers were cut at their bound: finish_reason 'length', or 'answer_cut'.",
    "lowered_bounds": f"{LOWERED}: response.lowered_bound.",
    "zero_vectors": f"{ZEROS}.",
    "not_json": "answers are not the JSON that was asked for.",
    "schema_broken": "answers break the schema that they were asked to hold to.",
}


def counted_answers(progress: Progress, extra: Extra) -> dict[str, object]:
    """Requests by their outcome, and answers by what is wrong with them."""
    spent = progress.spent
    return {
        "completed": progress.completed,
        "failed": progress.failed,
        "empty": spent.empty_answers,
        "cut_at_bound": spent.cut_answers,
        "lowered_bounds": spent.lowered_answers,
        "zero_vectors": spent.zero_answers,
        "not_json": spent.not_json_answers,
        "schema_broken": spent.broken_answers,
        "deduplicated": spent.deduplicated_answers,
        "asked_again": asdict(extra),
    }


def flawed_answers(answers: Mapping[str, object]) -> list[str]:
    """A sentence for each number that is not 0. What is no number is left out: it may be anybody's."""
    found = ((answers.get(name), words) for name, words in _WORDS.items())
    return [f"{count} {words}" for count, words in found if isinstance(count, int) and count > 0]
