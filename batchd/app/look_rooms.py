"""Rooms: what stands in a spool under each batch's id, listed once for all of them.

SUMMARY
    A room may hold a hundred thousand results, so it is listed once and not once for each of them. A batch
    that was at work then goes on meanwhile: its rooms are listed again when it is looked at. Of any other one
    only what is still there counts.

DIAGNOSTICS
    Fatal: ConfigError, SpoolError for a room that cannot be listed.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchd.core.audit.places import Kind
from batchd.core.options import is_batch_id
from batchd.edges.evidence import Evidence

TRASH = ".trash-"


def id_in_processing(name: str) -> str:
    """Whose name this is there, be it an id or not."""
    return name.removeprefix(TRASH)


def id_in_outbox(name: str) -> str:
    """As above."""
    return name.rpartition(".")[2]


def id_in_archive(name: str) -> str:
    """As above."""
    return name.partition(".")[0]


def id_in_partial(name: str) -> str:
    """As above."""
    return name.removesuffix(".jsonl")


@dataclass(frozen=True, slots=True)
class Held:
    """The names under one id: in the outbox, in the archive."""

    published: tuple[str, ...]
    archived: tuple[str, ...]


class Rooms:
    """As they were when they were listed."""

    def __init__(self, evidence: Evidence) -> None:
        root = evidence.root
        self._evidence = evidence
        self._at_work = set(map(id_in_processing, evidence.listing(root / "processing")))
        self._partial = set(map(id_in_partial, evidence.listing(root / "partial")))
        self._published = _by_id(evidence.listing(evidence.outbox), id_in_outbox)
        self._archived = _by_id(evidence.listing(root / "archive"), id_in_archive)

    def __repr__(self) -> str:
        return f"<Rooms of {self._evidence.root}>"

    def batch_ids(self) -> list[str]:
        """Every id that something stands under."""
        found = self._at_work | self._partial | self._published.keys() | self._archived.keys()
        return sorted(filter(is_batch_id, found))

    def held(self, batch_id: str) -> Held:
        """What stands there now."""
        if batch_id in self._at_work:
            now = Rooms(self._evidence)
            return Held(now._published.get(batch_id, ()), now._archived.get(batch_id, ()))
        evidence = self._evidence
        published, archived = self._published.get(batch_id, ()), self._archived.get(batch_id, ())
        return Held(
            tuple(name for name in published if evidence.kind(evidence.outbox / name) is not None),
            tuple(name for name in archived if evidence.kind(evidence.root / "archive" / name) is not None),
        )


def _by_id(listing: Mapping[str, Kind], id_of: Callable[[str], str]) -> Mapping[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in listing:
        found[id_of(name)].append(name)
    return {batch_id: tuple(named) for batch_id, named in found.items()}
