"""Magic: files that are known by their first bytes, and no JSON at all.

SUMMARY
    packed    archives, compressed files, documents and tables, by the magic number of their format
    encoded   UTF-16 and UTF-32, by their mark or by where their zero bytes stand
    binary    whatever else is no text

    Each gives what the file is, and the command that makes a batch file of it. The command says FILE for the
    file, because a name may hold what a shell obeys.

DIAGNOSTICS
    None raised: a beginning that nothing is known of is no foreign type.
"""

import re
from dataclasses import dataclass

from batchd.core.fault import Refusal

CODE = "wrong_file_type"

#: Control characters, in a text of people, are none or few.
_BINARY_SHARE_MIN = 1 / 20

_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

AS_REQUESTS = "make each row a request on a line of its own (docs/format.md shows one)"


@dataclass(frozen=True, slots=True)
class ForeignType:
    """What the file is, as the end of a sentence, and how it becomes a batch file."""

    what: str
    mend: str

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"The file is {self.what}, not JSON Lines in UTF-8: {self.mend}."

    def refusal(self) -> Refusal:
        """The one reason why a batch of this file fails."""
        return Refusal(CODE, self.sentence)


def packed(head: bytes) -> ForeignType | None:
    """By the magic number of the format."""
    if head.startswith(b"PK\x03\x04") and any(name in head for name in (b"[Content_Types].xml", b"xl/")):
        return ForeignType("an Excel or Office document", "export it as text (CSV), and then " + AS_REQUESTS)
    if head[257:262] == b"ustar" and b"\0" in head[:257]:
        return ForeignType("a tar archive", "unpack it with `tar -xf FILE`, and hand in what was in it")
    return next((found for magic, found in _MAGIC if head.startswith(magic)), None)


def encoded(head: bytes) -> ForeignType | None:
    """Wide characters, by their mark or by where their zero bytes stand."""
    for mark, name, is_marked in _WIDE:
        if head.startswith(mark) if is_marked else _zeros(head) == mark:
            return ForeignType(name, f"convert it with `iconv -f {name} -t UTF-8 FILE > NEW.jsonl`")
    return None


def binary(head: bytes) -> ForeignType | None:
    if not head.strip(b"\0"):
        return ForeignType("zero bytes", "it was not written to its end; hand it in again")
    if b"\0" in head or len(_CONTROLS.findall(head)) > _BINARY_SHARE_MIN * len(head):
        return ForeignType("binary data", "hand in a text file with one JSON object on each line")
    return None


def _zeros(head: bytes) -> bytes:
    """Of the first eight bytes: `.` for a character, `0` for a zero."""
    return b"".join(b"0" if byte == 0 else b"." for byte in head[:8])


#: (its mark, or where its zero bytes stand; what iconv calls it). The longer marks first.
_WIDE = (
    (b"\xff\xfe\0\0", "UTF-32", True),
    (b"\0\0\xfe\xff", "UTF-32", True),
    (b"\xff\xfe", "UTF-16", True),
    (b"\xfe\xff", "UTF-16", True),
    (b".000.000", "UTF-32LE", False),
    (b"000.000.", "UTF-32BE", False),
    (b".0.0.0.0", "UTF-16LE", False),
    (b"0.0.0.0.", "UTF-16BE", False),
)


def _unpack(name: str, command: str) -> ForeignType:
    return ForeignType(name, f"unpack it with `{command}`")


_MAGIC = (
    (b"\x1f\x8b\x08", _unpack("packed with gzip", "gunzip -c FILE > NEW.jsonl")),
    (b"PK\x03\x04", _unpack("a zip archive", "unzip -p FILE > NEW.jsonl")),
    (b"PK\x05\x06", _unpack("an empty zip archive", "unzip -p FILE > NEW.jsonl")),
    (b"\xfd7zXZ\0", _unpack("packed with xz", "xz -dc FILE > NEW.jsonl")),
    (b"BZh91AY&SY", _unpack("packed with bzip2", "bzip2 -dc FILE > NEW.jsonl")),
    (b"\x28\xb5\x2f\xfd", _unpack("packed with zstd", "zstd -dc FILE > NEW.jsonl")),
    (b"\x04\x22\x4d\x18", _unpack("packed with lz4", "lz4 -dc FILE > NEW.jsonl")),
    (b"7z\xbc\xaf\x27\x1c", _unpack("a 7z archive", "7z x -so FILE > NEW.jsonl")),
    (b"Rar!\x1a\x07", _unpack("a rar archive", "unrar p -inul FILE > NEW.jsonl")),
    (b"PAR1", ForeignType("a Parquet table", AS_REQUESTS)),
    (b"ARROW1", ForeignType("an Arrow table", AS_REQUESTS)),
    (b"Obj\x01", ForeignType("an Avro table", AS_REQUESTS)),
    (b"SQLite format 3\0", ForeignType("an SQLite database", AS_REQUESTS)),
    (b"\xd0\xcf\x11\xe0", ForeignType("an old Office document", "export it as text, and " + AS_REQUESTS)),
    (b"%PDF-", ForeignType("a PDF", "take its text out (`pdftotext FILE`), and " + AS_REQUESTS)),
)
