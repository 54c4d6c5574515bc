"""Foreground: the same rooms, for these files, until they are done.

SUMMARY
    A batch is the same batch when the file, its options and all that can change an answer are the same; its
    id is made from a hash over these. So the same command goes on where it was interrupted, and a batch that
    is finished is only looked up.

DIAGNOSTICS
    Fatal: UnavailableError when another holds the spool, or no model server answers within 30 s.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from batchd.app.house import House
from batchd.core.json import dumps
from batchd.core.options import UNANSWERING, peek_batch_id
from batchd.core.pause import Pause
from batchd.core.settle import Kind
from batchd.daemon.ports import Spool
from batchd.edges.spool import submit_file
from batchd.errors import UsageError

#: The file is read in pieces of this size.
_BLOCK_BYTES = 1 << 20

#: Where a line names its model. A text that looks like it only adds a name that nobody knows.
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')

#: A name that lies across two pieces is found in the second.
_TAIL_BYTES = 256

#: Names looked up for one file; a batch with more is not told apart by those beyond.
_MODELS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of the command line, with the id of its batch and the options it is handed in with."""

    source: Path
    batch_id: str
    options: Mapping[str, object]
    sha256: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one file: the path of its result directory, or why it is paused."""

    batch_id: str
    name: str
    path: str | None
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What one pass over a batch file found: its SHA-256, and the models that its lines may name."""

    sha256: str
    models: frozenset[str]


def read_content(source: Path) -> Content:
    """One pass. Raises UsageError when the file cannot be read."""
    digest = sha256()
    models: set[bytes] = set()
    tail = b""
    try:
        with source.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                if len(models) < _MODELS_MAX:
                    models.update(_MODEL.findall(tail + block))
                tail = block[-_TAIL_BYTES:]
    except OSError as error:
        raise UsageError(
            f"{source} cannot be read: {error.strerror}.", "Name a JSONL file in OpenAI's Batch format."
        ) from error
    return Content(digest.hexdigest(), frozenset(name.decode("utf-8", "replace") for name in models))


def identify(
    source: Path,
    content: Content,
    options: Mapping[str, object],
    answer_settings: Mapping[str, object],
    digests: Mapping[str, str],
) -> Wanted:
    """The batch that this file is, with these options, under these settings, answered by these models."""
    asked = {name: value for name, value in options.items() if name not in UNANSWERING}
    identity = sha256(dumps([content.sha256, asked, dict(answer_settings), sorted(digests.items())]))
    batch_id = f"batch_{identity.hexdigest()[:32]}"
    return Wanted(source, batch_id, {**options, "batch_id": batch_id}, content.sha256)


def hand_in(spool: Spool, root: Path, wanted: Sequence[Wanted]) -> None:
    """Submit those that this spool does not have yet. Blocking: it copies whole files.

    Raises UsageError when a file is not what it was when its id was made, or when a result of this batch is
    half collected, which would stand in the way of the new one.
    """
    here = set(spool.places()) | {
        peek_batch_id(spool.peek_options(seen.name)) for seen in spool.sweep() if seen.kind is Kind.BATCH
    }
    for item in wanted:
        if item.batch_id in here or spool.result_path(item.batch_id) is not None:
            continue
        if (remains := spool.remains_path(item.batch_id)) is not None:
            raise UsageError(
                f"{remains} holds what is left of an earlier result of {item.source}.",
                "Wait until it is collected, or move it away, and give the command again.",
            )
        name = item.source.name if item.source.name.endswith(".jsonl") else f"{item.source.name}.jsonl"
        submit_file(root, item.source, name, item.options, item.sha256)
        here.add(item.batch_id)


async def run_wanted(house: House, spool: Spool, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Run until each was published, or is paused; ids to paths, of those that are finished.

    The house says what it published: a collector may have taken it away since.
    """
    batch_ids = {item.batch_id for item in wanted}

    def finished() -> dict[str, str]:
        paths = {
            batch_id: house.published.get(batch_id) or spool.result_path(batch_id) for batch_id in batch_ids
        }
        return {batch_id: path for batch_id, path in paths.items() if path is not None}

    if len(finished()) < len(batch_ids):
        await house.run(until=lambda: batch_ids <= {*finished(), *house.roster.paused})
    return finished()
