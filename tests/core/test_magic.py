"""What the first bytes prove, and what they do not."""

import pytest

from batchd.core.magic import binary, encoded, packed
from tests.foreign_files import FOREIGN, GOOD


@pytest.mark.parametrize(
    "name", ["gzip", "bzip2", "xz", "zstd", "zip", "a workbook", "tar", "Parquet", "PDF"]
)
def test_an_archive_is_known_by_its_number(name: str) -> None:
    content, *words = FOREIGN[name]
    found = packed(content)
    assert found is not None
    assert words[0] in found.what
    assert encoded(content) is None


@pytest.mark.parametrize("name", [name for name in FOREIGN if name.startswith("UTF-")])
def test_wide_characters_are_known_with_and_without_their_mark(name: str) -> None:
    content, *words = FOREIGN[name]
    found = encoded(content)
    assert found is not None
    assert found.what == words[0].strip(",")
    assert packed(content) is None


@pytest.mark.parametrize(
    "head", [GOOD, b"", b"\xef\xbb\xbf" + GOOD, b"\x1f\x8b", b"PK", b"BZh\n", "ü".encode()]
)
def test_a_text_is_none_of_them(head: bytes) -> None:
    assert [look(head) for look in (packed, encoded)] == [None, None]
    assert head == b"" or binary(head) is None or head == b"\x1f\x8b"


def test_control_characters_in_a_text_do_not_make_it_binary_unless_they_are_many() -> None:
    assert binary(b"\x1b[31mred\x1b[0m and more of that \x07" * 20) is None
    assert binary(b"\x01\x02text" * 20) is not None
