"""Timings: what the log of an Ollama says of each answer: how many tokens were read for it.

SUMMARY
    note         one line of the log
    evaluated    the tokens that were read for the answer with these durations, now or soon
    slots        of the last load
    is_telling   whether a line is worth noting

    Ollama before 0.33.3 counts whole prompts and does not say what a slot held of them; its runner does, in
    the log. The number that a task has there stands in no answer, but both of its durations do, to a
    hundredth of a millisecond: by these an answer is found, and another server's log has none of them. Where
    two are alike the larger count is taken, so that never too much is said to be saved.

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

#: Longer lines have nothing to say: a count, its unit and its rates.
LINE_CHARS_MAX = 512

_TASK = re.compile(
    r"print_timing: id +(\d{1,9}) \| task +(\d{1,18}) \| +(prompt )?eval time = +(\d{1,12}(?:\.\d{1,6})?) ms"
    r" / +(\d{1,9}) tok"
)
_SLOTS = re.compile(r"load_model: .*\bn_slots = (\d{1,9})\b")


def is_telling(line: str) -> bool:
    """Of a hundred lines that a runner writes, the few that are read."""
    return ("print_timing: " in line or "load_model: " in line) and len(line) <= LINE_CHARS_MAX


@dataclass(frozen=True, slots=True)
class _Timing:
    """One task, as the log has it."""

    prefill_ms: float
    decode_ms: float
    evaluated: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """An answer whose timing is looked for. One of one token has no duration of its writing."""

    prefill_s: float
    decode_s: float | None
    told: "asyncio.Future[int | None]"

    def is_in(self, timing: _Timing) -> bool:
        return abs(timing.prefill_ms - self.prefill_s * 1e3) <= TOLERANCE_MS and (
            self.decode_s is None or abs(timing.decode_ms - self.decode_s * 1e3) <= TOLERANCE_MS
        )


class Timings:
    """One for each start of the program."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.slots: int | None = None
        self._wait_s = wait_s
        self._reading: dict[str, tuple[str, float, int]] = {}  # by slot: task, milliseconds, tokens
        self._timings: deque[_Timing] = deque(maxlen=KEPT_MAX)
        self._asked: list[_Asked] = []
        self._misses = 0

    def __repr__(self) -> str:
        return f"<Timings {len(self._timings)} not asked for, {self._misses} missed>"

    @property
    def is_silent(self) -> bool:
        """So many answers in a row were not there that the others are not looked for either."""
        return self._misses >= MISSES_MAX

    def note(self, line: str) -> None:
        if not is_telling(line):
            return
        if (match := _TASK.search(line)) is not None:
            slot, task, is_prompt, milliseconds, tokens = match.groups()
            if is_prompt:
                while len(self._reading) >= KEPT_MAX:
                    del self._reading[next(iter(self._reading))]
                self._reading[slot] = (task, float(milliseconds), int(tokens))
                return
            read = self._reading.pop(slot, None)
            if read is not None and read[0] == task:
                self._enter(_Timing(read[1], float(milliseconds), read[2]))
        elif (match := _SLOTS.search(line)) is not None:
            self.slots = int(match[1])

    def evaluated(self, prefill_s: float, decode_s: float | None) -> "asyncio.Future[int | None]":
        """Done at once where the log has it already, and where nothing is expected of it any more."""
        loop = asyncio.get_running_loop()
        asked = _Asked(prefill_s, decode_s, loop.create_future())
        if self.is_silent:
            asked.told.set_result(None)
        elif alike := [timing for timing in self._timings if asked.is_in(timing)]:
            found = max(alike, key=lambda timing: timing.evaluated)
            self._timings.remove(found)
            self._tell(asked, found)
        else:
            self._asked.append(asked)
            loop.call_later(self._wait_s, self._give_up, asked)
        return asked.told

    def close(self) -> None:
        """Nothing more is noted: who waits need not."""
        for asked in list(self._asked):
            self._asked.remove(asked)
            if not asked.told.done():
                asked.told.set_result(None)

    def _enter(self, timing: _Timing) -> None:
        asked = next((asked for asked in self._asked if asked.is_in(timing)), None)
        if asked is None:
            self._timings.append(timing)
            return
        self._asked.remove(asked)
        self._tell(asked, timing)

    def _tell(self, asked: _Asked, timing: _Timing) -> None:
        self._misses = 0
        if not asked.told.done():
            asked.told.set_result(timing.evaluated)

    def _give_up(self, asked: _Asked) -> None:
        if asked not in self._asked:
            return
        self._asked.remove(asked)
        self._misses += 1
        if not asked.told.done():
            asked.told.set_result(None)
