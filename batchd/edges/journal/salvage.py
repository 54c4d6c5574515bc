"""Salvage: every whole result in the file of a damaged journal, and its notes, without asking LMDB.

SUMMARY
    `whole_results` looks at each page of the file by itself. A result row proves itself: its CRC covers its
    line index and its content. So rows are found although the tree above them is torn, and LMDB's engine,
    which a damaged file could kill, is not needed. Pages that were left behind hold older copies of rows; the
    result of a line never changes, so the first one found will do.

    `notes` are the meta values of one name, older ones among them. They prove nothing of themselves: whoever
    asks must know them when he sees them.

    Layout of LMDB 0.9, which the journal asks for by number: a page has a header of 16 bytes and then the
    offsets of its nodes; a node has a header of 8 bytes, a key, and a value or the number of the page where a
    long value begins.

DIAGNOSTICS
    Warning: what the disk cannot read is left out, be it the whole file.
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from loguru import logger

from batchd.core.packing import unpack_key, unpack_result
from batchd.errors import JournalError

#: Pages read with one call; one that the disk refuses costs so many.
BLOCK_PAGES = 16
#: No batch has so many lines; an index beyond it is chance.
LINES_MAX = 2**31

_HEADER = struct.Struct("=QHHHH")  # page number, nothing, flags, end of the offsets, begin of the nodes
_OFFSET = struct.Struct("=H")
_NODE = struct.Struct("=HHHH")  # size (low, high), flags, key length
_PAGE_NUMBER = struct.Struct("=Q")
_LEAF = 0x02
_IS_ELSEWHERE = 0x01
_KEY_BYTES = 8


def whole_results(data: Path) -> Iterator[tuple[int, bool, bytes]]:
    """(line index, is_error, line), each index once, in no order."""
    taken = bytearray()
    for key, value in _rows(data, lambda key: len(key) == _KEY_BYTES):
        index = unpack_key(key)
        if index >= LINES_MAX or (index < len(taken) and taken[index]):
            continue
        try:
            is_error, line = unpack_result(index, value)
        except JournalError:  # a row of another table, or a damaged one
            continue
        taken.extend(bytes(max(0, index + 1 - len(taken))))
        taken[index] = 1
        yield index, is_error, line


def notes(data: Path, key: bytes) -> Iterator[str]:
    """All that was ever kept under this key and can still be read, in no order."""
    for _, value in _rows(data, lambda found: found == key):
        with contextlib.suppress(UnicodeDecodeError):
            yield value.decode()


def _rows(data: Path, is_wanted: Callable[[bytes], bool]) -> Iterator[tuple[bytes, bytes]]:
    try:
        descriptor = os.open(data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        logger.bind(event="salvage_failed").warning(
            "journal: nothing can be salvaged from {}: {}", data, error.strerror
        )
        return
    try:
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        for page in _leaves(descriptor, page_bytes):
            yield from _rows_of(descriptor, page, page_bytes, is_wanted)
    finally:
        os.close(descriptor)


def _leaves(descriptor: int, page_bytes: int) -> Iterator[bytes]:
    block_bytes = BLOCK_PAGES * page_bytes
    for start in range(0, os.fstat(descriptor).st_size, block_bytes):
        block = _read(descriptor, block_bytes, start)
        for at in range(0, len(block) - page_bytes + 1, page_bytes):
            page = block[at : at + page_bytes]
            number, _, flags, _, _ = _HEADER.unpack_from(page)
            if flags == _LEAF and number == (start + at) // page_bytes:
                yield page


def _rows_of(
    descriptor: int, page: bytes, page_bytes: int, is_wanted: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, bytes]]:
    """The rows of this leaf with such a key."""
    end = min(_HEADER.unpack_from(page)[3], page_bytes)
    for at in range(_HEADER.size, end - 1, _OFFSET.size):
        (node,) = _OFFSET.unpack_from(page, at)
        if node + _NODE.size > page_bytes:
            continue
        low, high, flags, key_bytes = _NODE.unpack_from(page, node)
        start = node + _NODE.size + key_bytes
        key = page[node + _NODE.size : start]
        if start > page_bytes or not is_wanted(key):
            continue
        size = low | high << 16
        if flags & _IS_ELSEWHERE and start + _PAGE_NUMBER.size <= page_bytes:
            (elsewhere,) = _PAGE_NUMBER.unpack_from(page, start)
            yield key, _read(descriptor, size, elsewhere * page_bytes + _HEADER.size)
        else:
            yield key, page[start : start + size]


def _read(descriptor: int, size: int, start: int) -> bytes:
    try:
        return os.pread(descriptor, size, start)
    except (OSError, OverflowError) as error:
        logger.bind(event="salvage_failed").warning(
            "journal: {} bytes at {} cannot be read: {}", size, start, error
        )
        return b""
