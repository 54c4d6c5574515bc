"""A journal read from a copy, for an auditor: nothing in the spool is opened by LMDB, locked or changed.

SUMMARY
    `copied(path)` copies data.mdb to a place of its own, proves the copy sound page by page without LMDB's
    engine (which a damaged file could kill), and only then opens it, without locks.

    A daemon may commit meanwhile. LMDB writes a commit into pages that neither of the last two commits uses,
    and then one of two meta pages in turn. So a copy holds the commit that was the newest when it began as
    long as at most one more had ended when it was done; the meta pages of the beginning are put into it.

    Never call this in the process that has the journal open: closing the file would drop LMDB's locks.

DIAGNOSTICS
    Fatal: DamagedJournalError, JournalVersionError for one of another schema, JournalError where the disk
    cannot read it; BusyError when commits came too fast for every try, or there is no room for the copy.
"""

import errno
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import lmdb
from lmdb.verify import VerifyError, verify

from batchd.core.audit.journal import JournalLine
from batchd.core.packing import (
    NEXT_STEP_DAMAGED,
    SCHEMA_VERSION,
    pack_key,
    unpack_key,
    unpack_result,
    unpack_row,
    unpack_state,
)
from batchd.edges.journal.rows import TABLES, Rows, Tables
from batchd.errors import DamagedJournalError, JournalError, JournalVersionError

#: Copies tried. Beside a daemon that commits at every answer of a slow model the first is good.
TRIES = 5

_BLOCK_BYTES = 1 << 20

#: Of LMDB 0.9: a page header of 16 bytes, then magic, version, address, map size, two tables of 48 bytes (the
#: first begins with the page size), the last page's number, and the commit's number.
_META = struct.Struct("=16xIIQQI92xQQ")
_MAGIC = 0xBEEFC0DE
_PAGE_BYTES_MAX = 0x8000

#: The tables that have a row for a line, in the order in which a line is put together.
_OF_LINES = ("reqs", "state", "results", "inflight")


class BusyError(JournalError):
    """Nothing is wrong with the journal: it could not be copied now."""


@dataclass(frozen=True, slots=True)
class _Metas:
    """Both meta pages; `commit` is the number of the newest commit."""

    pages: bytes
    commit: int


@dataclass(frozen=True, slots=True)
class CopiedJournal:
    """One commit of a journal."""

    rows: Rows
    _transaction: "lmdb.Transaction[bytes]" = field(repr=False)
    _tables: Tables = field(repr=False)

    def lines(self) -> Iterator[JournalLine]:
        """All that it holds of each line, in input order. A row that cannot be unpacked is named in it."""
        streams = [self._stream(number, table) for number, table in enumerate(_OF_LINES)]
        for key, found in groupby(merge(*streams, key=itemgetter(0, 1)), key=itemgetter(0)):
            line = JournalLine(unpack_key(key))
            for _, number, value in found:
                _enter(line, _OF_LINES[number], value)
            yield line

    def result(self, index: int) -> bytes | None:
        """The finished line of this index, if it can be read."""
        value = self._transaction.get(pack_key(index), db=self._tables["results"])
        try:
            return None if value is None else unpack_result(index, value)[1]
        except JournalError:
            return None

    def _stream(self, number: int, table: str) -> Iterator[tuple[bytes, int, bytes]]:
        for key, value in self._transaction.cursor(self._tables[table]):
            yield key, number, value


@contextmanager
def copied(journal: Path) -> Iterator[CopiedJournal | None]:
    """The newest commit of the journal in this directory; None for one without any: intake was killed."""
    with tempfile.TemporaryDirectory(prefix="batchd-verify-") as folder:
        metas = _copy(journal / "data.mdb", Path(folder) / "data.mdb")
        if metas is None or not metas.commit:
            yield None
            return
        try:
            with lmdb.open(
                folder, max_dbs=len(TABLES), readonly=True, lock=False, create=False, lib_version=0
            ) as environment:
                tables = {name: environment.open_db(name.encode(), create=False) for name in TABLES}
                with environment.begin() as transaction:
                    rows = Rows(transaction, tables)
                    _refuse_other_schema(rows)
                    yield CopiedJournal(rows, transaction, tables)
        except lmdb.Error as error:
            raise DamagedJournalError(f"The journal cannot be read: {error}.", NEXT_STEP_DAMAGED) from error


def _copy(source: Path, target: Path) -> _Metas | None:
    """A sound copy; None where there is nothing to copy yet."""
    problem = ""
    for _ in range(TRIES):
        try:
            before = _metas(source)
            if before is None:
                return None
            _copy_plain(source, target)
            after = _metas(source)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.filename2 is None:
                raise JournalError(
                    f"The journal cannot be read: {error.strerror}.", NEXT_STEP_DAMAGED
                ) from error
            raise BusyError(f"There is no copy of the journal: {error.strerror}.", _NEXT_STEP_ROOM) from error
        if after is None or after.commit > before.commit + 1:
            continue
        with target.open("r+b") as file:
            file.write(before.pages)
        problem = _problem(target)
        if not problem:
            return before
        if after.pages == before.pages:
            break  # nobody wrote meanwhile: it is the journal that is damaged
    if not problem:
        raise BusyError(
            "The journal changes faster than it can be copied.", "Look again when less is going on."
        )
    raise DamagedJournalError(f"The journal is damaged: {problem}.", NEXT_STEP_DAMAGED)


def _copy_plain(source: Path, target: Path) -> None:
    """With its holes: a file may say that it is larger than any disk. Trouble of the target names both."""
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0), target.open("wb", buffering=0) as copy:
        found = os.fstat(descriptor)
        space = os.fstatvfs(copy.fileno())
        if found.st_blocks * 512 > space.f_bavail * space.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))
        at = 0
        while at < found.st_size:
            try:
                at = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nothing but a hole is left
                    raise
                break
            block = os.pread(descriptor, _BLOCK_BYTES, at)
            if not block:
                break
            try:
                os.pwrite(copy.fileno(), block, at)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(source), None, str(target)) from error
            at += len(block)
        copy.truncate(found.st_size)


def _metas(path: Path) -> _Metas | None:
    """None for a file that LMDB has not begun."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedJournalError("The journal is damaged: it is not a plain file.", NEXT_STEP_DAMAGED)
        head = os.pread(descriptor, _META.size, 0)
        if not head:
            return None
        page_bytes = _META.unpack(head)[4] if len(head) == _META.size else 0
        pages = os.pread(descriptor, 2 * min(page_bytes, _PAGE_BYTES_MAX), 0)
    finally:
        os.close(descriptor)
    if not 0 < page_bytes <= _PAGE_BYTES_MAX or len(pages) < page_bytes + _META.size:
        raise DamagedJournalError("The journal is damaged: it has no meta pages.", NEXT_STEP_DAMAGED)
    commits = [
        fields[-1]
        for fields in (_META.unpack_from(pages), _META.unpack_from(pages, page_bytes))
        if fields[0] == _MAGIC
    ]
    if not commits:
        raise DamagedJournalError("The journal is damaged: it is no file of LMDB.", NEXT_STEP_DAMAGED)
    return _Metas(pages, max(commits))


def _problem(path: Path) -> str:
    """What is wrong with the pages of this file, in LMDB's words; empty when they are sound."""
    try:
        problems: list[str] = verify(str(path), subdir=False)  # type: ignore[no-untyped-call]  # it has no types
    except VerifyError as error:
        return str(error)
    return problems[0] if problems else ""


def _refuse_other_schema(rows: Rows) -> None:
    schema = rows.schema() or b""
    if schema != str(SCHEMA_VERSION).encode():
        raise JournalVersionError(
            f"The journal has schema {schema.decode('ascii', 'replace')}, not {SCHEMA_VERSION}.",
            "Look with the batchd that wrote it, or a newer one.",
        )


def _enter(line: JournalLine, table: str, value: bytes) -> None:
    try:
        match table:
            case "reqs":
                line.row = unpack_row(value)
            case "state":
                line.state = unpack_state(value)
            case "results":
                line.result = unpack_result(line.index, value)
            case _:
                line.is_inflight = True
    except JournalError:
        line.unreadable = (*line.unreadable, table)


_NEXT_STEP_ROOM = "Make room for it, or name a larger place: TMPDIR=/var/tmp batchd verify."
