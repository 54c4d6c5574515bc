"""Neighbours: processes of programs that may use the same card.

SUMMARY
    `neighbours` lists every `batchd daemon` and `batchd run`, and every `ollama serve`, that we may see.

DIAGNOSTICS
    None: what is hidden is absent.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from batchd.core.doctor.place import Neighbour

PROC = Path("/proc")

#: The verbs that load models.
_VERBS = ("daemon", "run")

#: Words of a command line that are looked at.
_WORDS_MAX = 32


def neighbours(proc: Path = PROC) -> list[Neighbour]:
    """All but ourselves."""
    return sorted(_seen(proc), key=lambda item: item.pid)


def _seen(proc: Path) -> Iterator[Neighbour]:
    try:
        numbers = [entry.name for entry in proc.iterdir() if entry.name.isdecimal()]
    except OSError:
        return
    for number in numbers:
        try:
            raw = (proc / number / "cmdline").read_bytes()
        except OSError:
            continue
        words = [os.fsdecode(word) for word in raw.split(b"\0")[:_WORDS_MAX] if word]
        if int(number) != os.getpid() and (found := _kind(words)) is not None:
            yield Neighbour(int(number), *found)


def _kind(words: list[str]) -> tuple[str, str] | None:
    """(kind, what to call it). A program may stand behind its interpreter: `python -m batchd daemon`."""
    names = [PurePath(word).name for word in words]
    if names[:2] == ["ollama", "serve"]:
        return "ollama", "ollama serve"
    for verb in _VERBS:
        if verb in names[1:] and "batchd" in names[: names.index(verb, 1)][-1:]:
            return "batchd", f"batchd {verb}"
    return None
