"""Lines of a batch file: numbers, offsets and bytes agree with a plain reading, whatever the file."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.lines import Line, Lines, too_long_fault

BOM = b"\xef\xbb\xbf"
pieces = st.sampled_from(
    [b"a", b"{}", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\n\n", b"abcdefghijkl", BOM, b"\x85"]
)
files = st.lists(pieces, max_size=24).map(b"".join)


def read(content: bytes, line_bytes_max: int = 1000) -> tuple[list[Line], Lines]:
    lines = Lines(io.BytesIO(content), line_bytes_max)
    return list(lines), lines


def plain(content: bytes) -> list[tuple[int, int, bytes]]:
    """The same, the slow and simple way: (number, offset, raw) of each line that is not blank."""
    found = []
    offset = 0
    parts = content.split(b"\n")
    for number, part in enumerate(parts, start=1):
        raw, start = part, offset
        if number == 1 and raw.startswith(BOM):
            raw, start = raw[3:], start + 3
        if number < len(parts):
            raw = raw.removesuffix(b"\r")
        if raw.strip():
            found.append((number, start, raw))
        offset += len(part) + 1
    return found


@given(files)
def test_lines_agree_with_a_plain_reading(content: bytes) -> None:
    lines, _ = read(content)
    assert [(line.number, line.offset, line.raw) for line in lines] == plain(content)


@given(files)
def test_an_offset_and_a_length_find_the_same_bytes_again(content: bytes) -> None:
    for line in read(content)[0]:
        assert content[line.offset : line.offset + line.length_bytes] == line.raw


@given(files, st.integers(min_value=1, max_value=12))
def test_a_limit_changes_nothing_but_whether_the_bytes_are_kept(content: bytes, line_bytes_max: int) -> None:
    # A line that is all blanks and over the limit is the one exception: nobody holds it to see that.
    limited = [
        (line.number, line.offset, line.length_bytes, line.raw) for line in read(content, line_bytes_max)[0]
    ]
    expected = [
        (number, offset, len(raw), raw if len(raw) <= line_bytes_max else None)
        for number, offset, raw in plain(content)
    ]
    blank_and_long = {number for number, *_, raw in limited if raw is None} - {row[0] for row in expected}
    assert [row for row in limited if row[0] not in blank_and_long] == expected


@given(files, st.integers(min_value=1, max_value=12))
def test_every_byte_and_every_line_is_counted(content: bytes, line_bytes_max: int) -> None:
    found, lines = read(content, line_bytes_max)
    assert lines.read_bytes == len(content)
    assert len(found) + lines.blank_count == lines.line_count
    assert lines.line_count == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert lines.too_long_count == sum(line.raw is None for line in found)


def test_a_very_long_line_is_never_held() -> None:
    class Endless(io.RawIOBase):
        """Twenty million bytes without a newline; remembers the largest piece that was asked for."""

        def __init__(self) -> None:
            self.left = 20_000_000
            self.largest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.largest = max(self.largest, size)
            taken = min(size, self.left)
            self.left -= taken
            return b"x" * taken

    reader = Endless()
    (line,) = Lines(reader, 100_000)
    assert (line.raw, line.length_bytes) == (None, 20_000_000)
    assert reader.largest < 110_000


def test_a_line_after_one_that_is_too_long_is_read_as_usual() -> None:
    found, _ = read(b"x" * 200_000 + b"\r\nok\n", 100)
    assert [(line.number, line.offset, line.length_bytes, line.raw) for line in found] == [
        (1, 0, 200_000, None),
        (2, 200_002, 2, b"ok"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\n", []),
        (BOM + b"a\n", ["byte-order mark"]),
        (b"a\r\nb\n", ["CR LF: 1"]),
        (b"a\n\n \r\nb\n", ["CR LF: 1", "Blank lines: 2"]),
        (b"a\nb", ["no newline"]),
        (b"", []),
    ],
)
def test_what_is_unusual_is_said(content: bytes, said: list[str]) -> None:
    notes = read(content)[1].notes()
    assert len(notes) == len(said)
    assert all(word in note for word, note in zip(said, notes, strict=True))


def test_the_fault_of_a_line_over_the_limit_has_both_numbers() -> None:
    (line,) = read(b"x" * 20, 10)[0]
    fault = too_long_fault(line, 10)
    assert (fault.line, fault.code, fault.custom_id) == (1, "line_too_long", None)
    assert "20 bytes" in fault.message
    assert "10" in fault.message


def test_the_portrait_tells_how_far_it_is() -> None:
    assert repr(read(b"a\nb\n")[1]) == "<Lines 2 lines, 4 bytes read>"
