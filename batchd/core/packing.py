"""Packing: the records of the journal as bytes.

SUMMARY
    One pair of functions for each kind of row. Integers are big-endian.

    `SCHEMA_VERSION` is the number of the whole journal: it goes up when any table or packed form changes; the
    way to do that is written in `edges/journal`. Result rows carry a number of their own, because they are
    what must still be readable when all else is not: version, flags, CRC-32, then the line, compressed where
    that helps. The CRC covers the line index and the flags too, so that a row cannot pass as another's.

DIAGNOSTICS
    Fatal: a row that cannot be unpacked raises DamagedJournalError.
"""

import hashlib
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator

from batchd.core.curve import Curve
from batchd.core.fault import Category
from batchd.core.record import (
    Event,
    Group,
    LineRow,
    LineState,
    LineStatus,
    Progress,
    Share,
    Spent,
    share_numbers,
    spent_numbers,
)
from batchd.errors import DamagedJournalError

SCHEMA_VERSION = 3
RESULT_VERSION = 1

#: Results shorter than this are kept as they are: the gain would be a few bytes.
COMPRESS_FROM_BYTES = 512
RESULT_BYTES_MAX = 256 << 20  # no line is longer, and few bytes can be made to unpack to very many
#: Line indices per row of the order: 16 KiB, which is four pages.
ORDER_BLOCK = 4096

NEXT_STEP_DAMAGED = (
    "Start batchd again: it keeps the damaged journal as evidence, salvages every whole answer from it, and "
    "computes only the others again. Look into the kernel's log for disk errors."
)

_IS_ERROR, _IS_COMPRESSED = 1, 2
_KEY = struct.Struct(">Q")
_ROW = struct.Struct(">QIIiI")
_STATE = struct.Struct(">BIIB")
_RESULT = struct.Struct(">BBI")
_SPENT = struct.Struct(">QQQddQQQQQQ")  # its first numbers; those that came later stand behind, by name
_PROGRESS = struct.Struct(">QQQd")
_GROUP = struct.Struct(">QQQQQI")
_COUNT = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_SHARE = struct.Struct(">QQQQQd")
_PACE = struct.Struct(">dd")
_AT = struct.Struct(">d")

#: Counters of `Spent` that the first journals of this schema do not have. A new one is only entered here.
_LATER = ("lowered_answers", "zero_answers", "not_json_answers", "broken_answers")

#: The numbers are on disk: never give one a new meaning. 0 is no category.
_CATEGORIES: tuple[Category, ...] = (
    Category.OOM,
    Category.TIMEOUT,
    Category.MODEL,
    Category.NETWORK,
    Category.VALIDATION,
    Category.CONTEXT_LENGTH,
    Category.CRASH,
    Category.RUNAWAY,
    Category.SERVER,
    Category.EXPIRED,
    Category.CANCELLED,
    Category.INVALID_ANSWER,
)
_CATEGORY_NUMBERS = {category: number for number, category in enumerate((None, *_CATEGORIES))}


def custom_id_key(custom_id: str) -> bytes:
    """Of fixed size, since LMDB's keys end at 511 bytes. Only equality matters, so any string will do."""
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def pack_key(index: int) -> bytes:
    """Big-endian, so that the order of keys is the order of lines."""
    return _KEY.pack(index)


def unpack_key(key: bytes) -> int:
    (index,) = _unpack(_KEY, key, "a key")
    return int(index)


def pack_row(row: LineRow) -> bytes:
    return _ROW.pack(row.offset, row.length, row.crc, row.group, row.number)


def unpack_row(value: bytes) -> LineRow:
    return LineRow(*_unpack(_ROW, value, "the place of a line"))


def pack_copy(custom_id: str, number: int) -> bytes:
    """What a copy's outcome needs besides that of its original: its custom_id and the number of its line."""
    return _LENGTH.pack(number) + custom_id.encode()


def unpack_copy(value: bytes) -> tuple[str, int]:
    what = "a copy of a line"
    (number,) = _unpack(_LENGTH, value[: _LENGTH.size], what)
    try:
        return value[_LENGTH.size :].decode(), number
    except UnicodeDecodeError:
        raise _damaged(what) from None


def pack_state(state: LineState) -> bytes:
    return _STATE.pack(state.status, state.attempts, state.crashes, _CATEGORY_NUMBERS[state.category])


def unpack_state(value: bytes) -> LineState:
    status, attempts, crashes, number = _unpack(_STATE, value, "the state of a line")
    if status > max(LineStatus) or number > len(_CATEGORIES):
        raise _damaged("the state of a line")
    category = _CATEGORIES[number - 1] if number else None
    return LineState(LineStatus(status), attempts, crashes, category)


def pack_result(index: int, line: bytes, is_error: bool) -> bytes:
    flags = _IS_ERROR if is_error else 0
    payload = line
    if len(line) >= COMPRESS_FROM_BYTES:
        compressed = zlib.compress(line, 1)
        if len(compressed) < len(line):
            payload, flags = compressed, flags | _IS_COMPRESSED
    return _RESULT.pack(RESULT_VERSION, flags, _result_crc(index, flags, line)) + payload


def unpack_result(index: int, value: bytes) -> tuple[bool, bytes]:
    """(is_error, line). Raises DamagedJournalError that names the line when a bit of it has changed."""
    what = f"the result of line index {index}"
    if len(value) < _RESULT.size:
        raise _damaged(what)
    version, flags, crc = _RESULT.unpack_from(value)
    if version != RESULT_VERSION:  # a newer one would stand under a newer schema
        raise _damaged(what)
    line = value[_RESULT.size :]
    if flags & _IS_COMPRESSED:
        unpacking = zlib.decompressobj()
        try:
            line = unpacking.decompress(line, RESULT_BYTES_MAX)
        except zlib.error:
            raise _damaged(what) from None
        if not unpacking.eof:
            raise _damaged(what)
    if _result_crc(index, flags, line) != crc:
        raise _damaged(what)
    return bool(flags & _IS_ERROR), line


def _result_crc(index: int, flags: int, line: bytes) -> int:
    return zlib.crc32(line, zlib.crc32(_KEY.pack(index) + bytes((flags,))))


def pack_progress(progress: Progress) -> bytes:
    head = _PROGRESS.pack(progress.total, progress.completed, progress.failed, progress.worked_s)
    numbers = spent_numbers(progress.spent)
    later = zip(_LATER, numbers[-len(_LATER) :], strict=True)
    named = [*((name, number) for name, number in later if number), *progress.faults.items()]
    counts = (_pack_text(name) + _COUNT.pack(number) for name, number in named)
    return head + _SPENT.pack(*numbers[: -len(_LATER)]) + b"".join(counts)


def unpack_progress(value: bytes) -> Progress:
    what = "the counters"
    total, completed, failed, worked_s = _unpack(_PROGRESS, value[: _PROGRESS.size], what)
    at = _PROGRESS.size + _SPENT.size
    first = _unpack(_SPENT, value[_PROGRESS.size : at], what)
    named: dict[str, int] = {}
    while at < len(value):
        name, at = _unpack_text(value, at, what)
        (named[name],) = _unpack(_COUNT, value[at : at + _COUNT.size], what)
        at += _COUNT.size
    spent = Spent(*first, **{name: named.pop(name) for name in _LATER if name in named})
    return Progress(total, completed, failed, spent, named, worked_s)


def pack_group(group: Group) -> bytes:
    tokens = (group.prefix_tokens, group.window_tokens, group.shared_tokens)
    numbers = _GROUP.pack(group.start, group.count, *tokens, group.load)
    # Last, because the first journals of this schema have no such number.
    shortest = _COUNT.pack(group.window_tokens_min) if group.window_tokens_min else b""
    return numbers + _pack_text(group.model) + _pack_text(group.endpoint) + shortest


def unpack_group(value: bytes) -> Group:
    what = "a group of the plan"
    numbers = _unpack(_GROUP, value[: _GROUP.size], what)
    model, at = _unpack_text(value, _GROUP.size, what)
    endpoint, at = _unpack_text(value, at, what)
    shortest = _unpack(_COUNT, value[at:], what) if len(value) > at else (0,)
    return Group(model, endpoint, *numbers, *shortest)


def pack_share(share: Share) -> bytes:
    return _SHARE.pack(*share_numbers(share))


def unpack_share(value: bytes) -> Share:
    return Share(*_unpack(_SHARE, value, "the share of a group or lane"))


def pack_curve(pace: Curve) -> bytes:
    return _PACE.pack(pace.started_at, pace.step_s) + struct.pack(f">{len(pace.answers)}I", *pace.answers)


def unpack_curve(value: bytes) -> Curve:
    what = "the pace"
    started_at, step_s = _unpack(_PACE, value[: _PACE.size], what)
    answers = value[_PACE.size :]
    if len(answers) % 4:
        raise _damaged(what)
    return Curve(started_at, step_s, struct.unpack(f">{len(answers) // 4}I", answers))


def pack_order(order: "array[int]") -> Iterator[bytes]:
    """The order in blocks of `ORDER_BLOCK` unsigned 32-bit integers."""
    for start in range(0, len(order), ORDER_BLOCK):
        yield _swapped(order[start : start + ORDER_BLOCK]).tobytes()


def unpack_order(blocks: Iterable[bytes]) -> "array[int]":
    order = array("I")
    for block in blocks:
        if len(block) % order.itemsize:
            raise _damaged("the order of the plan")
        order.frombytes(block)
    return _swapped(order)


#: Name, old, new and cause of an event.
_EVENT_TEXTS_MIN = 4


def pack_event(event: Event) -> bytes:
    texts = [event.name, event.old, event.new, event.cause, event.evidence]
    texts += [event.server] if event.server else []
    return _AT.pack(event.at) + b"".join(_pack_text(text) for text in texts)


def unpack_event(value: bytes) -> Event:
    what = "an event"
    (moment,) = _unpack(_AT, value[: _AT.size], what)
    at, texts = _AT.size, list[str]()
    while at < len(value) or len(texts) < _EVENT_TEXTS_MIN:  # the first journals knew no evidence
        text, at = _unpack_text(value, at, what)
        texts.append(text)
    return Event(moment, *texts)


def _swapped(order: "array[int]") -> "array[int]":
    if sys.byteorder == "little":
        order.byteswap()
    return order


def _pack_text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(content)) + content


def _unpack_text(value: bytes, at: int, what: str) -> tuple[str, int]:
    (length,) = _unpack(_LENGTH, value[at : at + _LENGTH.size], what)
    start = at + _LENGTH.size
    content = value[start : start + length]
    if len(content) != length:
        raise _damaged(what)
    try:
        return content.decode("utf-8", "surrogatepass"), start + length
    except UnicodeDecodeError:
        raise _damaged(what) from None


def _unpack(form: struct.Struct, value: bytes, what: str) -> tuple[int, ...]:
    if len(value) != form.size:
        raise _damaged(what)
    return form.unpack(value)


def _damaged(what: str) -> DamagedJournalError:
    return DamagedJournalError(f"The journal's row for {what} cannot be read.", NEXT_STEP_DAMAGED)
