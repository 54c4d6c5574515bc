"""Salvage: every whole result in the file of a damaged journal, without asking LMDB.

SUMMARY
    `whole_results` looks at each page of the file by itself. A result row proves itself: its CRC covers its
    line index and its content. So rows are found although the tree above them is torn, and LMDB's engine,
    which a damaged file could kill, is not needed. Pages that were left behind hold older copies of rows; the
    result of a line never changes, so the first one found will do.

    Layout of LMDB 0.9, which the journal asks for by number: a page has a header of 16 bytes and then the
    offsets of its nodes; a node has a header of 8 bytes, a key, and a value or the number of the page where a
    long value begins.

DIAGNOSTICS
    Warning: what the disk cannot read is left out, be it the whole file.
"""

import os
import struct
from collections.abc import Iterator
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
    try:
        descriptor = os.open(data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        logger.bind(event="salvage_failed").warning(
            "journal: nothing can be salvaged from {}: {}", data, error.strerror
        )
        return
    try:
        yield from _found(descriptor, os.sysconf("SC_PAGE_SIZE"))
    finally:
        os.close(descriptor)


def _found(descriptor: int, page_bytes: int) -> Iterator[tuple[int, bool, bytes]]:
    taken = bytearray()
    for number, page in _leaves(descriptor, page_bytes):
        for index, value in _rows(descriptor, number, page, page_bytes):
            if index < len(taken) and taken[index]:
                continue
            try:
                is_error, line = unpack_result(index, value)
            except JournalError:  # a row of another table, or a damaged one
                continue
            taken.extend(bytes(max(0, index + 1 - len(taken))))
            taken[index] = 1
            yield index, is_error, line


def _leaves(descriptor: int, page_bytes: int) -> Iterator[tuple[int, bytes]]:
    block_bytes = BLOCK_PAGES * page_bytes
    for start in range(0, os.fstat(descriptor).st_size, block_bytes):
        block = _read(descriptor, block_bytes, start)
        for at in range(0, len(block) - page_bytes + 1, page_bytes):
            page = block[at : at + page_bytes]
            number, _, flags, _, _ = _HEADER.unpack_from(page)
            if flags == _LEAF and number == (start + at) // page_bytes:
                yield number, page


def _rows(descriptor: int, number: int, page: bytes, page_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The rows of this leaf whose key is as long as a line's."""
    end = min(_HEADER.unpack_from(page)[3], page_bytes)
    for at in range(_HEADER.size, end - 1, _OFFSET.size):
        (node,) = _OFFSET.unpack_from(page, at)
        if node + _NODE.size + _KEY_BYTES > page_bytes:
            continue
        low, high, flags, key_bytes = _NODE.unpack_from(page, node)
        start = node + _NODE.size + _KEY_BYTES
        index = unpack_key(page[node + _NODE.size : start])
        if key_bytes != _KEY_BYTES or index >= LINES_MAX:
            continue
        size = low | high << 16
        if flags & _IS_ELSEWHERE and start + _PAGE_NUMBER.size <= page_bytes:
            (elsewhere,) = _PAGE_NUMBER.unpack_from(page, start)
            yield index, _read(descriptor, size, elsewhere * page_bytes + _HEADER.size)
        else:
            yield index, page[start : start + size]


def _read(descriptor: int, size: int, start: int) -> bytes:
    try:
        return os.pread(descriptor, size, start)
    except (OSError, OverflowError) as error:
        logger.bind(event="salvage_failed").warning(
            "journal: {} bytes at {} cannot be read: {}", size, start, error
        )
        return b""
