"""A look at results: the directories that were published for one batch, and its originals.

SUMMARY
    A directory is read once: each file is tallied while its lines are audited. The batch file is found by
    its SHA-256, which metrics.json has, among the archived originals and our own copy; where it is kept no
    more, the lines are audited without it.

DIAGNOSTICS
    Fatal: ConfigError, SpoolError for a room that cannot be listed. A file that cannot be read is a Finding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from batchd.app.look_rooms import Held
from batchd.core.audit.finding import REDO_RESULT, Finding, Rule
from batchd.core.audit.outcome import INPUT_LINE_BYTES_MAX, Inputs
from batchd.core.audit.places import Kind
from batchd.core.audit.report import Looked
from batchd.core.audit.results import (
    BATCH,
    ERRORS,
    METRICS,
    OUTPUT,
    REJECTED,
    RETRY,
    ResultAudit,
    audit_files,
    is_of_wrong_type,
)
from batchd.core.filetype import foreign_type
from batchd.core.json import loads
from batchd.core.tally import Tally
from batchd.core.text import printable
from batchd.edges.evidence import Evidence

RESULT_ROOM = "outbox"

#: The input of a batch whose file could not be read as one: its original is whatever was handed in.
_NOTHING = sha256().hexdigest()


class ResultLook:
    """Looks at what was published for one batch, and at what was handed in."""

    def __init__(
        self,
        evidence: Evidence,
        watch: Callable[[str, int], None],
        looked: Looked,
        skipped: dict[str, str],
        batch_id: str,
        held: Held,
    ) -> None:
        self._evidence = evidence
        self._watch = watch
        self._looked = looked
        self._skipped = skipped
        self._batch_id = batch_id
        self._digests: dict[Path, str] = {}
        self.archived, self.published = held.archived, held.published

    def __repr__(self) -> str:
        return f"<ResultLook at {self._batch_id}>"

    def batch_files(self, directory: Path) -> tuple[str, ...]:
        """The names in here that are not the options, nor a damaged journal that was kept."""
        names = self._evidence.listing(directory)
        return tuple(
            name for name in names if not name.startswith(".") and not name.endswith(".options.json")
        )

    def originals(self) -> Iterator[Finding]:
        """Each archived directory has its one batch file."""
        for name in self.archived:
            self._looked.originals += 1
            count = len(self.batch_files(self._evidence.root / "archive" / name))
            if count != 1:
                what = f"It holds {count} batch files, and one was handed in."
                step = "Find out who changed the archive; the result is not touched by it."
                yield Finding(Rule.ONE_PLACE, f"archive/{name}", what, step)

    def directory(self, path: Path, place: str, sealed: str | None) -> Iterator[Finding]:
        """One result directory. `sealed` is the hash that the journal has of one not yet renamed."""
        place = printable(place)
        names = self._evidence.listing(path)
        if not names and sealed is None:
            return  # a collector took the files and left the directory
        self._looked.results += 1
        plain = [name for name, kind in names.items() if kind is Kind.FILE]
        for name in names.keys() - set(plain):
            rule = Rule.INSIDE if names[name] is Kind.LINK else Rule.WHOLE_OUTBOX
            yield Finding(rule, f"{place}/{printable(name)}", "It is not a plain file.", REDO_RESULT)
        try:
            yield from self._files(path, place, plain, sealed)
        except OSError as error:
            what = f"It cannot be read: {error.strerror or error}."
            yield Finding(Rule.WHOLE_OUTBOX, place, what, REDO_RESULT)

    def _files(self, path: Path, place: str, names: Iterable[str], sealed: str | None) -> Iterator[Finding]:
        metrics = self._metrics(path)
        if metrics is None:
            what = "It is missing, or no JSON object: nothing proves that this result is whole."
            yield Finding(Rule.WHOLE_OUTBOX, f"{place}/{METRICS}", what, REDO_RESULT)
        is_unread = is_of_wrong_type(self._evidence.content(path / BATCH))
        inputs, found = self._inputs(metrics or {}, is_unread)
        yield from found
        audit = ResultAudit(place, self._batch_id, inputs)
        tallies = {name: Tally() for name in names}
        for name in (OUTPUT, ERRORS):
            if name in tallies:
                yield from audit.outcomes(name, self._lines(path, place, name, tallies[name]))
        rejected = self._lines(path, place, REJECTED, tallies[REJECTED]) if REJECTED in tallies else ()
        yield from audit.rejected(rejected)
        yield from audit.retry(self._lines(path, place, RETRY, tallies[RETRY]) if RETRY in tallies else ())
        for name in tallies.keys() - {OUTPUT, ERRORS, REJECTED, RETRY}:
            for _ in tallies[name].passed(self._evidence.blocks(path / name)):
                pass
        yield from audit.end(self._evidence.content(path / BATCH))
        if metrics is not None:
            yield from self._figures(place, tallies, metrics)
        if sealed is not None and sealed != _seal(tallies):
            what = "It is not what was sealed: its hash is not the journal's."
            step = "Start batchd: it assembles it again before it publishes."
            yield Finding(Rule.WHOLE_OUTBOX, place, what, step)

    def _figures(
        self, place: str, tallies: Mapping[str, Tally], metrics: Mapping[str, object]
    ) -> Iterator[Finding]:
        said = metrics.get("files")
        there = {name: tally.figures() for name, tally in tallies.items() if name != METRICS}
        if isinstance(said, dict):
            yield from audit_files(place, there, said)
            return
        self._skipped[place] = f"{place}: metrics.json has no hashes of its files (an older batchd made it)."
        if BATCH not in there:
            yield Finding(Rule.WHOLE_OUTBOX, f"{place}/{BATCH}", "It is missing.", REDO_RESULT)

    def _metrics(self, path: Path) -> dict[str, object] | None:
        raw = self._evidence.content(path / METRICS)
        try:
            value = None if raw is None else loads(raw)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _lines(self, path: Path, place: str, name: str, tally: Tally) -> Iterator[bytes]:
        for line in tally.passed(self._evidence.lines(path / name)):
            self._looked.result_lines += name in (OUTPUT, ERRORS)
            self._saw(f"{place}/{name}", len(line))
            yield line

    def _inputs(self, metrics: Mapping[str, object], is_unread: bool) -> tuple[Inputs | None, list[Finding]]:
        """The batch file of this result, wherever it still is; a finding where only another one is.

        `is_unread`: the result says that the whole file was of a wrong type. That is looked at again.
        """
        wanted = _digest_of_input(metrics)
        archived = [
            self._evidence.root / "archive" / name / file
            for name in self.archived
            for file in self.batch_files(self._evidence.root / "archive" / name)
        ]
        ours = self._evidence.root / "processing" / self._batch_id / "input.jsonl"
        for candidate in (*archived, ours):
            if wanted is not None and self._digest(candidate) == wanted:
                with self._evidence.opened(candidate) as file:
                    if is_unread and foreign_type(file, INPUT_LINE_BYTES_MAX) is not None:
                        return Inputs(BytesIO()), []
                    return Inputs(file), []
        if wanted is None or wanted == _NOTHING or not archived:
            return None, []
        what = "None of the originals kept under this id is the file that was worked on (SHA-256)."
        step = "Take the file from where it came; its owner may have written to it after handing it in."
        return None, [Finding(Rule.ONE_PLACE, f"archive/{self.archived[0]}", what, step)]

    def _digest(self, path: Path) -> str:
        """Empty for what cannot be read: a thing that was refused as a batch file."""
        if path not in self._digests:
            tally = Tally()
            try:
                for block in self._evidence.blocks(path):
                    tally.add(block)
                    self._saw(printable(str(path.relative_to(self._evidence.root))), len(block))
                self._digests[path] = tally.sha256
            except OSError:
                self._digests[path] = ""
        return self._digests[path]

    def _saw(self, place: str, size_bytes: int) -> None:
        self._looked.bytes_read += size_bytes
        self._watch(place, size_bytes)


def _digest_of_input(metrics: Mapping[str, object]) -> str | None:
    provenance = metrics.get("provenance")
    given = provenance.get("input") if isinstance(provenance, dict) else None
    digest = given.get("sha256") if isinstance(given, dict) else None
    return digest if isinstance(digest, str) else None


def _seal(tallies: Mapping[str, Tally]) -> str:
    """As the spool seals: a digest line for each file, in the order of names, hashed."""
    lines = (f"{tally.sha256}  {name}\n" for name, tally in sorted(tallies.items()))
    return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
