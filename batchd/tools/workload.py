"""Workload: batches of work that a person might have, of any size and without any data at hand.

SUMMARY
    Returned goods are sorted by a long rubric. Every request has its own short note; the rubrics differ
    between groups, and groups are dealt unevenly: the second has half as many as the first, the third a
    third, and so on. Shuffled, neighbours share a beginning only by chance.

    `edition` stands at the front of every rubric, so that what a run reads is of no use to the next one.

DIAGNOSTICS
    None: an OSError of the file passes through.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchd.core.json import dumps

#: Tokens of an English word and what stands around it, as the small models count; good enough for a length.
TOKENS_PER_WORD = 1.35

#: Short enough that a CPU reads it in a second or two, long enough that reading it again shows.
PROMPT_TOKENS = 200

#: A label and the beginning of a reason.
ANSWER_TOKENS = 8

#: Editions have four digits, so that all of them weigh the same.
EDITIONS = 10_000

_SEED = 20_261_121

_RULES = (
    "Read the note once, to its end, before you decide anything.",
    "Name the shelf: repair, resale, spare parts, or recycling.",
    "A thing that was never opened goes to resale, whatever the note says of its box.",
    "A thing with a broken glass or a swollen battery goes to recycling, and nobody tries it first.",
    "Where a part is missing that is sold by itself, choose repair and name the part.",
    "Where more than half of the parts are missing, choose spare parts.",
    "Water that was wiped off is no damage; water that went inside is.",
    "A scratch counts only where a buyer would see it on a photograph.",
    "When two shelves fit, choose the one that costs less work.",
    "When nothing fits, answer ask, and say what you would need to know.",
    "Give one reason of at most twelve words, from the note and in its own words.",
    "Do not repeat the name of the thing, do not praise, and do not give advice.",
    "The weight is given in grams; heavier than five thousand is marked as two people.",
    "A note from the morning round is checked again in the evening, so doubt is allowed.",
    "Prices are not your business, even where the note asks for one.",
    "Example: kettle, lid missing, heats well. Answer: repair, the lid is sold by itself.",
    "Example: lamp, box torn, never opened. Answer: resale, it was never opened.",
    "Example: clock, three wheels left. Answer: spare parts, most of it is missing.",
)
_THINGS = (
    "kettle",
    "lamp",
    "clock",
    "drill",
    "radio",
    "heater",
    "fan",
    "scale",
    "toaster",
    "speaker",
    "printer",
)
_STATES = (
    "lid missing",
    "box torn",
    "never opened",
    "cable cut",
    "screen dull",
    "smells burnt",
    "runs loudly",
)
_ENDS = ("the buyer changed his mind", "it came too late", "it was the wrong size", "no reason was given")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be done. `prompt_tokens` is about the length of a rubric; `answer_tokens` the bound."""

    lines: int
    groups: int = 1
    prompt_tokens: int = PROMPT_TOKENS
    answer_tokens: int = ANSWER_TOKENS
    is_shuffled: bool = True

    def write(self, path: Path, model: str, edition: int) -> Path:
        """The batch file."""
        with path.open("wb") as file:
            for line in self.requests(model, edition):
                file.write(dumps(line) + b"\n")
        return path

    def requests(self, model: str, edition: int) -> Iterator[dict[str, object]]:
        """The request lines, in the order of the file."""
        rules = self._rules()
        for number, group in enumerate(self._dealt()):
            yield {
                "custom_id": f"return-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": model,
                    "messages": [
                        {"role": "system", "content": f"{_head(edition, group)}\n{rules}"},
                        {"role": "user", "content": _note(number)},
                    ],
                    "max_completion_tokens": self.answer_tokens,
                    "temperature": 0,
                },
            }

    def _dealt(self) -> list[int]:
        """The group of each line: as many of each as its weight says, however few lines there are."""
        dealt: list[int] = []
        # Whose next line would be the least above its share; the first has the weight 1, the second a half.
        due = [(0.5 * (rank + 1), rank) for rank in range(self.groups)]
        for _ in range(self.lines):
            at, group = due[0]
            heapq.heapreplace(due, (at + group + 1, group))
            dealt.append(group)
        # The same work in the same order in each run: chance with a seed.
        if self.is_shuffled:
            random.Random(_SEED).shuffle(dealt)
        return dealt

    def _rules(self) -> str:
        """What follows the head of every rubric. Heads differ at once, so groups share nothing of it."""
        rules: list[str] = []
        words = len(_head(0, 0).split())
        while words * TOKENS_PER_WORD < self.prompt_tokens:
            rules.append(f"Rule {len(rules) + 1}. {_RULES[len(rules) % len(_RULES)]}")
            words += len(rules[-1].split())
        return "\n".join(rules)


def _head(edition: int, group: int) -> str:
    return f"Edition {edition % EDITIONS:04d}, house {group + 1}. You sort returned goods onto shelves."


def _note(number: int) -> str:
    """No two are equal: the number of the note is in it."""
    thing, state, end = (
        words[number * step % len(words)] for words, step in ((_THINGS, 7), (_STATES, 3), (_ENDS, 1))
    )
    weight_g = 120 + number * 37 % 9_000
    return f"Note {number}: {thing}, {state}, {weight_g} g; {end}. Which shelf, and why?"
