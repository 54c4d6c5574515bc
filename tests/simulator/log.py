"""The log of requests: in memory, and as JSON lines in a file, written before the answer.

SUMMARY
    note    one request; in a file long texts are shortened and say how long they were

DIAGNOSTICS
    OSError: the file cannot be written.
"""

import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import orjson

from tests.simulator.state import Seen

#: Longer texts are shortened in the file: a batch of 1.5 GB must not make a log of 1.5 GB.
TEXT_CHARS_MAX = 200


def shorten(value: object) -> object:
    if isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
        return f"{value[:TEXT_CHARS_MAX]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {name: shorten(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shorten(inner) for inner in value]
    return value


class RequestLog:
    """Appends with one write for each line, so that a reader sees whole lines only."""

    def __init__(self, path: Path | None, seen: deque[Seen]) -> None:
        self._seen = seen
        self._count = 0
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if path else None

    def note(self, path: str, tag: str | None, body: Mapping[str, object]) -> None:
        seen = Seen(self._count, time.time_ns() / 1e9, path, tag, body)
        self._count += 1
        if self._file is None:
            self._seen.append(seen)
            return
        line = {"number": seen.number, "at": seen.at, "path": path, "tag": tag, "body": shorten(dict(body))}
        os.write(self._file, orjson.dumps(line) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
