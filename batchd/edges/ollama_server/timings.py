"""Timings: what the log of our own Ollama says of each answer: how many tokens were read for it.

SUMMARY
    note         one line of the log
    evaluated    the tokens that were read for the answer with these durations
    slots        of the last load

    Ollama before 0.33.3 counts whole prompts and does not say what a slot held of them; its runner does, in
    the log. The number that a task has there stands in no answer, but both of its durations do, to a
    hundredth of a millisecond: by these an answer is found. Where two are alike the larger count is taken,
    so that never too much is said to be saved.

DIAGNOSTICS
    None: what is not found in the log is not known. After some answers in a row that are not there, such as
    with a version that writes its log otherwise, nothing is waited for any more.
"""

import asyncio
import re
from collections import deque
from dataclasses import dataclass

#: The line is written before the answer, and comes through two pipes.
WAIT_S = 0.5

#: Answers in a row that the log did not have.
MISSES_MAX = 5

#: Timings of answers that nobody has asked for: more than there are slots.
KEPT_MAX = 256

#: The log rounds to 0.01 ms.
TOLERANCE_MS = 0.0051

_TASK = re.compile(
    r"print_timing: id +(\d+) \| task +(\d+) \| +(prompt )?eval time = +([\d.]+) ms / +(\d+) tok"
)
_SLOTS = re.compile(r"load_model: .*\bn_slots = (\d+)")


@dataclass(frozen=True, slots=True)
class _Timing:
    """One task, as the log has it."""

    prefill_ms: float
    decode_ms: float
    evaluated: int

    def is_of(self, prefill_s: float, decode_s: float | None) -> bool:
        """An answer of one token has no duration of its writing."""
        return abs(self.prefill_ms - prefill_s * 1e3) <= TOLERANCE_MS and (
            decode_s is None or abs(self.decode_ms - decode_s * 1e3) <= TOLERANCE_MS
        )


class Timings:
    """One for each start of the program."""

    def __init__(self) -> None:
        self.slots: int | None = None
        self._reading: dict[str, tuple[str, float, int]] = {}  # by slot: task, milliseconds, tokens
        self._timings: deque[_Timing] = deque(maxlen=KEPT_MAX)
        self._news = asyncio.Event()
        self._misses = 0

    def __repr__(self) -> str:
        return f"<Timings {len(self._timings)} not asked for, {self._misses} missed>"

    def note(self, line: str) -> None:
        if (match := _TASK.search(line)) is not None:
            slot, task, is_prompt, milliseconds, tokens = match.groups()
            if is_prompt:
                self._reading[slot] = (task, float(milliseconds), int(tokens))
                return
            read = self._reading.pop(slot, None)
            if read is not None and read[0] == task:
                self._timings.append(_Timing(read[1], float(milliseconds), read[2]))
                news, self._news = self._news, asyncio.Event()
                news.set()
        elif (match := _SLOTS.search(line)) is not None:
            self.slots = int(match[1])

    async def evaluated(self, prefill_s: float, decode_s: float | None) -> int | None:
        if self._misses >= MISSES_MAX:
            return None
        try:
            async with asyncio.timeout(WAIT_S):
                while (found := self._take(prefill_s, decode_s)) is None:
                    await self._news.wait()
        except TimeoutError:
            self._misses += 1
            return None
        self._misses = 0
        return found

    def _take(self, prefill_s: float, decode_s: float | None) -> int | None:
        alike = [timing for timing in self._timings if timing.is_of(prefill_s, decode_s)]
        if not alike:
            return None
        found = max(alike, key=lambda timing: timing.evaluated)
        self._timings.remove(found)
        return found.evaluated
