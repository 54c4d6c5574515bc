"""What `batchd run` does with batches that are paused: it shows why, and asks, or says what to type.

SUMMARY
    A pause of the pilot is shown with the answers so far. On a terminal a person is asked; elsewhere the
    command to type is said, and the verb ends with EXIT_PAUSED.

DIAGNOSTICS
    Warning: answers that cannot be read are not shown; the journal has them.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

from batchd.app import Ended
from batchd.cli.terminal import put_table, say
from batchd.core.json import loads
from batchd.core.pause import Cause
from batchd.core.text import printable
from batchd.edges.plain import read_head
from batchd.edges.spool import tell

#: A batch waits for a person. Neither a result (0, 1) nor an error: nothing is wrong with the command.
EXIT_PAUSED = 3

#: Answers shown, and of each as much as a person reads to see whether it is what was wanted.
_SHOWN_MAX = 40
_ANSWER_CHARS_MAX = 300

#: So much of partial/ holds more answers than are shown.
_HEAD_BYTES = 4 << 20


def go_on(spool: Path, paused: Sequence[Ended]) -> bool:
    """Whether the run shall go on with all of these: then they are resumed already."""
    for batch in paused:
        assert batch.pause is not None
        if batch.pause.cause is Cause.PILOT:
            _show_answers(spool / "partial" / f"{batch.batch_id}.jsonl")
        say(f"{batch.name} is paused: {batch.pause.reason}.", style="yellow")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        for batch in paused:
            say(f"To go on, type: batchd resume {batch.batch_id} --spool {quote(str(spool))}")
        say("Then give the same command again. `batchd cancel` would end it with what is answered.")
        return False
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("It stays paused; the same command asks again.")
        return False
    for batch in paused:
        tell(spool, batch.batch_id, "resume")
    return True


def as_json_of_paused(batch: Ended) -> dict[str, object]:
    """A paused batch in a few words, for a program."""
    assert batch.pause is not None
    return {
        "batch_id": batch.batch_id,
        "path": None,
        "status": "in_progress",
        "paused": {"cause": batch.pause.cause.value, "reason": batch.pause.reason, "at": batch.pause.at},
    }


def _show_answers(partial: Path) -> None:
    try:
        raw = read_head(partial, _HEAD_BYTES)
    except OSError:
        return
    rows = [_row(line) for line in islice(_lines(raw), _SHOWN_MAX)]
    if rows:
        put_table(("custom_id", "answer"), rows)


def _lines(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.splitlines():
        try:
            value = loads(line)
        except ValueError:  # a line that is being written
            continue
        if isinstance(value, dict):
            yield value


def _row(line: dict[str, Any]) -> tuple[str, str]:
    body = (line.get("response") or {}).get("body") or {}
    error = line.get("error") or body.get("error")
    if error is not None:
        text = f"[{error.get('code')}] {error.get('message')}"
    elif body.get("choices"):
        choice = body["choices"][0]
        text = str(choice.get("text", (choice.get("message") or {}).get("content", "")))
        text += "  [cut at its bound]" if choice.get("finish_reason") == "length" else ""
    else:
        text = f"{len(body.get('data') or [])} embeddings"
    shown = printable(text) or "[empty]"
    cut = shown if len(shown) <= _ANSWER_CHARS_MAX else f"{shown[: _ANSWER_CHARS_MAX - 1]}…"
    return str(line.get("custom_id")), cut
