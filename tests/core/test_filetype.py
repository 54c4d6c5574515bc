"""A whole file of the wrong type is known by its beginning; whatever could run is read line by line."""

import io

import pytest

from batchd.core import filetype
from batchd.core.filetype import HEAD_BYTES, foreign_type
from tests.foreign_files import FOREIGN, GOOD, OURS

LINE_BYTES_MAX = 1 << 20


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_the_wrong_type_is_one_sentence_with_what_mends_it(name: str) -> None:
    content, *words = FOREIGN[name]
    file = io.BytesIO(content)
    found = foreign_type(file, LINE_BYTES_MAX)
    assert found is not None
    assert all(word in found.sentence for word in words), found.sentence
    assert "\n" not in found.sentence
    assert file.tell() == 0, "it is read again, by whoever asked"
    refusal = found.refusal()
    assert (refusal.code, refusal.message, refusal.line) == ("wrong_file_type", found.sentence, None)


@pytest.mark.parametrize("name", OURS)
def test_a_file_with_one_line_that_could_run_is_read_line_by_line(name: str) -> None:
    file = io.BytesIO(OURS[name])
    assert foreign_type(file, LINE_BYTES_MAX) is None
    assert file.tell() == 0


class Counted(io.BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece

    def readline(self, size: int | None = -1, /) -> bytes:
        piece = super().readline(size)
        self.taken += len(piece)
        return piece


def test_a_good_file_costs_one_look_at_its_beginning() -> None:
    file = Counted(GOOD * 2_000)
    assert foreign_type(file, LINE_BYTES_MAX) is None
    assert file.taken == HEAD_BYTES


@pytest.mark.parametrize("filling", [b"some words\n", b"[{", b"x"])
def test_a_search_for_requests_ends(filling: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filetype, "_SEARCHED_BYTES_MAX", 1 << 18)
    file = Counted(b"some words\nsome more\n" + filling * 300_000 + GOOD)
    assert foreign_type(file, LINE_BYTES_MAX) is not None
    assert file.taken <= HEAD_BYTES + (1 << 18)


@pytest.mark.parametrize(
    "beginning", [b"{" * 70_000, b'{"a":' * 20_000, b"[" * 70_000, b'{\n"' + b"\\" * 70_000]
)
def test_a_hostile_beginning_is_no_trouble(beginning: bytes) -> None:
    foreign_type(io.BytesIO(beginning), LINE_BYTES_MAX)
