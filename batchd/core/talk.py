"""Talk: where the conversations of one batch stand, as the journal keeps it, and what results say of them.

SUMMARY
    One meta value, `TALK`: by section of the batch its segments, how often their size was halved, and what
    was measured last; and counts over all of them.

    conversations     that were begun, and have an answer
    longest           requests of the longest one so far
    trims, kept_exchanges, dropped_exchanges, dropped_tokens
                      trims, what they kept and what they let go, summed; the tokens are estimates
    halvings          of the size, after the model server had been out of memory

DIAGNOSTICS
    Bug: a meta value that `to_meta` did not write.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchd.core.conversation import Sample
from batchd.core.json import dumps, loads

#: The meta value of the journal.
TALK = "talk"

COUNTS = (
    "conversations",
    "longest",
    "trims",
    "kept_exchanges",
    "dropped_exchanges",
    "dropped_tokens",
    "halvings",
)


@dataclass(slots=True)
class Standing:
    """One section: the state of its `Segments`, halvings, samples."""

    state: Sequence[Sequence[int]] = ()
    halvings: int = 0
    samples: tuple[Sample, ...] = ()


@dataclass(slots=True)
class Talk:
    """All of it. `sections`: by the place of their first line."""

    sections: dict[int, Standing] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def to_meta(self) -> str:
        """As the journal keeps it."""
        sections = {
            str(start): [
                it.state,
                it.halvings,
                [[s.at, s.estimated, s.counted, s.question, s.answer] for s in it.samples],
            ]
            for start, it in self.sections.items()
        }
        return dumps({"sections": sections, "counts": dict(self.counts)}).decode()


def talk_of(meta: Mapping[str, str]) -> Talk:
    """As it was kept; an empty one before the first entry."""
    if TALK not in meta:
        return Talk()
    kept: Any = loads(meta[TALK].encode())  # we wrote it
    sections = {
        int(start): Standing(state, halvings, tuple(Sample(*numbers) for numbers in samples))
        for start, (state, halvings, samples) in kept["sections"].items()
    }
    return Talk(sections, Counter(kept["counts"]))


def counts_of(meta: Mapping[str, str]) -> dict[str, int]:
    """What the results say."""
    counts = talk_of(meta).counts
    return {name: counts[name] for name in COUNTS}


def notes_of(counts: Mapping[str, int], failed: int) -> list[str]:
    """What a reader of the results should know. `failed`: requests that were sent and have no answer."""
    notes = [
        "The requests were turns of conversations: each answer was written with those before it in view, and "
        "may differ from the one that its request would have got alone."
    ]
    if trims := counts["trims"]:
        notes.append(
            f"Conversations were trimmed {trims} times: {counts['kept_exchanges']} exchanges were kept and "
            f"{counts['dropped_exchanges']}, of some {counts['dropped_tokens']} tokens, were let go."
        )
    if failed:
        notes.append(f"{failed} requests ended with errors; their conversations went on without them.")
    return notes


def answer_text(line: bytes) -> str:
    """What the model said, from a result line of a chat."""
    value: Any = loads(line)  # we wrote it
    text = value["response"]["body"]["choices"][0]["message"]["content"]
    assert isinstance(text, str)  # as above
    return text
