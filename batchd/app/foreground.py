"""Foreground: the same rooms, for these files, until they are done.

SUMMARY
    A batch is the same batch when the file, its options and all that can change an answer are the same; its
    id is made from a hash over these. So the same command goes on where it was interrupted, and a batch that
    is finished is only looked up.

DIAGNOSTICS
    Fatal: UnavailableError when another holds the spool, or no model server answers within 30 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from batchd.app.house import House
from batchd.core.json import dumps
from batchd.core.options import peek_batch_id
from batchd.core.settle import Kind
from batchd.daemon.ports import Spool
from batchd.edges.spool import submit_file
from batchd.errors import UsageError

#: The file is hashed in pieces of this size.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file of the command line, with the id of its batch and the options it is handed in with."""

    source: Path
    batch_id: str
    options: Mapping[str, object]


def identify(source: Path, options: Mapping[str, object], answer_settings: Mapping[str, object]) -> Wanted:
    """The batch that this file is under these settings. Raises UsageError when it cannot be read."""
    digest = sha256(dumps([options, answer_settings]))
    try:
        with source.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise UsageError(
            f"{source} cannot be read: {error.strerror}.", "Name a JSONL file in OpenAI's Batch format."
        ) from error
    batch_id = f"batch_{digest.hexdigest()[:32]}"
    return Wanted(source, batch_id, {**options, "batch_id": batch_id})


def hand_in(spool: Spool, root: Path, wanted: Sequence[Wanted]) -> None:
    """Submit those that this spool does not have yet."""
    here = set(spool.places()) | {
        peek_batch_id(spool.peek_options(seen.name)) for seen in spool.sweep() if seen.kind is Kind.BATCH
    }
    for item in wanted:
        if item.batch_id not in here and spool.result_path(item.batch_id) is None:
            name = item.source.name if item.source.name.endswith(".jsonl") else f"{item.source.name}.jsonl"
            submit_file(root, item.source, name, item.options)
            here.add(item.batch_id)


async def run_wanted(house: House, spool: Spool, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Run until each has its result directory; ids to paths, of those that are finished."""

    def finished() -> dict[str, str]:
        paths = {item.batch_id: spool.result_path(item.batch_id) for item in wanted}
        return {batch_id: path for batch_id, path in paths.items() if path is not None}

    if len(finished()) < len({item.batch_id for item in wanted}):
        await house.run(until=lambda: len(finished()) == len({item.batch_id for item in wanted}))
    return finished()
