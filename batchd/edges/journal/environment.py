"""The LMDB environment of one journal: making, opening, checking, and its transactions.

SUMMARY
    One environment for each batch, in a directory of its own, deleted with the batch. Default durability:
    a commit returns when its pages and then its meta page are on the disk.

    The files in the directory are never opened by anything else in this process, not even for reading:
    closing such a descriptor would drop LMDB's locks.

    A journal that was once found damaged stays so: a file beside it says it, for damage that a later check
    might not look at. Recovery puts such a journal aside, and salvages it (`salvage`).

DIAGNOSTICS
    Fatal: a torn or damaged environment raises DamagedJournalError, one of another schema
    JournalVersionError, a missing one or a disk that fails JournalError, each with the next step. Reads
    translate LMDB's errors; `commit` lets them through to the writer, which tries again. A full disk is a
    FullJournalError.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import lmdb

from batchd import failpoints
from batchd.core.packing import NEXT_STEP_DAMAGED, SCHEMA_VERSION, pack_progress
from batchd.core.record import NO_PROGRESS
from batchd.edges.journal.address import address_room, larger, map_bytes, nearly_fills
from batchd.edges.journal.rows import COUNTERS, SCHEMA, TABLES, Changes, Rows, Tables
from batchd.edges.journal.trouble import DAMAGES, NO_ROOM, is_full, making, of_disk, of_lmdb
from batchd.errors import DamagedJournalError, JournalError, JournalVersionError

#: Results whose CRC is checked at open: enough to notice a bad disk, in well under 0.1 s.
CHECKED_RESULTS = 1000
#: Results taken in one read transaction: none lives long, for pages that a reader sees cannot be used again.
SLICE_RESULTS = 1000
SLICE_BYTES = 4 * 1024**2
#: Pages that a whole file may lack at its end, and the share of a small one: LMDB need not write a page that
#: was freed in the transaction that took it. None was ever missing in 36,000 mixed commits.
UNWRITTEN_PAGES_MAX = 64
UNWRITTEN_SHARE_MAX = 1 / 8

#: The file that LMDB keeps everything in.
DATA = "data.mdb"
_LOCK = "lock.mdb"
_DAMAGED = "damaged"

#: The size of LMDB's lock file, with its usual number of readers.
_LOCK_BYTES = 8192


class Environment:
    """An open environment with its tables. Writing is for one thread, reading for any."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._map_bytes = 0  # as large as the address space allows
        # Held during a read, so that `reopen` cannot pull the environment from under it. Reads are short.
        self._reading = threading.Lock()
        try:
            self._environment, self._tables = self._load()
        except lmdb.VersionMismatchError as error:
            raise JournalVersionError(
                f"The journal {path} is in a format of another LMDB.", _NEXT_STEP_OTHER
            ) from error
        except lmdb.Error as error:
            raise of_lmdb(f"The journal {path} cannot be opened", error, path) from error
        except OSError as error:
            raise of_disk(f"The journal {path} cannot be opened", error, path) from error

    def __repr__(self) -> str:
        return f"Environment({str(self._path)!r})"

    @classmethod
    def create(cls, path: str) -> "Environment":
        """Make the directory if need be and an empty journal in it, durably."""
        place = Path(path)
        with making(path):
            place.mkdir(mode=0o700, exist_ok=True)
            is_there = (place / DATA).exists()
        if is_there:
            raise JournalError(f"There is a journal at {path} already.", "Open it, or delete its directory.")
        failpoints.reach("journal.directory_made")
        environment = cls(path)
        failpoints.reach("journal.made")
        with making(path), ExitStack() as undo:
            undo.callback(environment.close)
            for directory in (place, place.parent):
                _sync_directory(directory)
            undo.pop_all()
        failpoints.reach("journal.done")
        return environment

    @classmethod
    def open(cls, path: str) -> "Environment":
        """Open a journal that a `create` began. One that was killed before its first commit is empty."""
        if not Path(path).is_dir():
            raise JournalError(
                f"There is no journal at {path}.", "Delete what intake left of this batch and begin it again."
            )
        if (Path(path) / _DAMAGED).exists():
            raise DamagedJournalError(f"The journal {path} was found damaged before.", NEXT_STEP_DAMAGED)
        environment = cls(path)
        try:
            environment.check()
        except BaseException:
            environment.close()
            raise
        return environment

    def check(self) -> None:
        """Schema, counters against counts, and the CRCs of the last results."""
        with self.read() as rows:
            rows.phase()
            progress = rows.progress()
            lines, results = rows.entries("reqs"), rows.entries("results")
            first = rows.first_of_last_results(CHECKED_RESULTS)
        finished = progress.completed + progress.failed
        if (lines, results) != (progress.total, finished):
            raise DamagedJournalError(
                f"The journal {self._path} counts {progress.total} lines and {finished} results, "
                f"but holds {lines} and {results}.",
                NEXT_STEP_DAMAGED,
            )
        for _ in self.results(first):
            pass

    def results(self, first: int = 0) -> Iterator[tuple[int, bool, bytes]]:
        """(index, is_error, line) from this index on, each CRC verified."""
        while found := self._slice(first):
            yield from found
            first = found[-1][0] + 1

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """A short read transaction."""
        with self._reading, self._noticing_damage():
            try:
                with self._environment.begin() as transaction:
                    yield Rows(transaction, self._tables)
            except lmdb.Error as error:
                raise of_lmdb(f"The journal {self._path} cannot be read", error, self._path) from error

    def _slice(self, first: int) -> list[tuple[int, bool, bytes]]:
        with self.read() as rows:
            return rows.results(first, SLICE_RESULTS, SLICE_BYTES)

    def commit(self, changes: Sequence[Callable[[Changes], object]]) -> list[object]:
        """Run these changes in one transaction; what they returned. Durable on return. Raises lmdb.Error."""
        failpoints.reach("commit.begun")
        try:
            with self._noticing_damage(), self._environment.begin(write=True) as transaction:
                rows = Changes(transaction, self._tables)
                results = [change(rows) for change in changes]
                rows.seal()
                failpoints.reach("commit.sealed")
        except lmdb.MapFullError:
            self._grow()
            raise  # the writer tries again
        failpoints.reach("commit.done")
        return results

    def _grow(self) -> None:
        """A larger map, where a limit of the address space made this one small."""
        if (wanted := larger(self._map_bytes)) is not None:
            self._map_bytes = wanted
            self.reopen()

    def reopen(self) -> None:
        """After a panic: LMDB refuses all work until it was closed. Raises lmdb.Error, OSError."""
        with self._reading:
            self._environment.close()
            self._environment, self._tables = self._load()
        self.check()

    def is_nearly_full(self) -> bool:
        """Whether an eighth is left of the largest map that it can have, or less."""
        with self._reading:
            used_bytes = self._environment.info()["last_pgno"] * self._environment.stat()["psize"]
        return nearly_fills(used_bytes, self._map_bytes)

    def has_no_room(self, error: lmdb.Error) -> bool:
        """Whether the disk is full, or so nearly that the largest commit finds no place."""
        return is_full(self._path, error)

    @contextmanager
    def _noticing_damage(self) -> Iterator[None]:
        """Damage once seen is remembered in a file: the next check at open might not look there."""
        try:
            yield
        except (DamagedJournalError, *DAMAGES) as error:
            with suppress(OSError):  # a disk that takes nothing more cannot be told either
                (self._path / _DAMAGED).touch(mode=0o600)
            if isinstance(error, lmdb.Error):
                raise of_lmdb(f"The journal {self._path} is damaged", error, self._path) from error
            raise

    def close(self) -> None:
        with self._reading:
            self._environment.close()

    def _load(self) -> tuple["lmdb.Environment", Tables]:
        self._reserve_lock()
        self._map_bytes = self._map_bytes or map_bytes(self._path / DATA)
        with address_room(self._map_bytes):
            environment = lmdb.open(
                str(self._path),
                map_size=self._map_bytes,
                max_dbs=len(TABLES),
                lib_version=0,  # the file format of LMDB 0.9, whatever the package's default becomes
                sync=True,
                metasync=True,
                writemap=False,  # with a writable map, a full disk kills the process
                mode=0o600,
                readahead=True,  # the two long reads, of states at the start and results at the end, take all
            )
        try:
            environment.reader_check()
            self._refuse_torn(environment)
            return environment, self._tables_of(environment)
        except BaseException:
            environment.close()
            raise

    def _reserve_lock(self) -> None:
        """LMDB writes its lock file through a map: where that has a hole, a full disk kills the process."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path / _LOCK, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
        except OSError as error:
            if error.errno in NO_ROOM:  # anything else: this file system does not know how
                raise
        finally:
            os.close(descriptor)

    def _refuse_torn(self, environment: "lmdb.Environment") -> None:
        """Reading a page beyond the end of the file would kill the process (SIGBUS), so look first."""
        pages = environment.info()["last_pgno"] + 1
        page_bytes = environment.stat()["psize"]
        there = (self._path / DATA).stat().st_size // page_bytes
        if pages - there > min(UNWRITTEN_PAGES_MAX, UNWRITTEN_SHARE_MAX * pages):
            raise DamagedJournalError(
                f"The journal {self._path} is torn: {there} of its {pages} pages are there.",
                NEXT_STEP_DAMAGED,
            )
        if there < pages:
            # Empty pages, which LMDB refuses where it needs them. By the name: no descriptor is closed here.
            os.truncate(self._path / DATA, pages * page_bytes)

    def _tables_of(self, environment: "lmdb.Environment") -> Tables:
        """The tables; on an environment without a commit yet they are made, with the schema, in one."""
        is_empty = environment.info()["last_txnid"] == 0
        with environment.begin(write=True) as transaction:  # a handle opened in a read ends with it
            try:
                tables = {
                    name: environment.open_db(name.encode(), txn=transaction, create=is_empty)
                    for name in TABLES
                }
            except lmdb.NotFoundError as error:
                raise DamagedJournalError(
                    f"{self._path} is not a journal of batchd: {error}.", NEXT_STEP_DAMAGED
                ) from error
            if is_empty:
                transaction.put(SCHEMA, str(SCHEMA_VERSION).encode(), db=tables["meta"])
                transaction.put(COUNTERS, pack_progress(NO_PROGRESS), db=tables["meta"])
            self._refuse_other_schema(Rows(transaction, tables).schema() or b"")
        return tables

    def _refuse_other_schema(self, schema: bytes) -> None:
        if schema == str(SCHEMA_VERSION).encode():
            return
        if schema.isdigit() and len(schema) <= _SCHEMA_DIGITS_MAX:
            raise JournalVersionError(
                f"The journal {self._path} has schema {int(schema)}; this batchd knows {SCHEMA_VERSION}.",
                _NEXT_STEP_OTHER,
            )
        raise DamagedJournalError(
            f"The journal {self._path} has no schema number that batchd knows.", NEXT_STEP_DAMAGED
        )


#: A schema number with more digits is no number of ours, but damage.
_SCHEMA_DIGITS_MAX = 3
_NEXT_STEP_OTHER = (
    "Install the batchd that wrote it and let it finish its batches, then change versions: nothing is lost."
)


def _sync_directory(directory: Path) -> None:
    """LMDB syncs its files, not the directory that names them."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
