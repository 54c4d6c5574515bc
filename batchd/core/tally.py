"""Tally: what a file is known by once it has passed by, piece by piece: SHA-256, bytes, lines.

SUMMARY
    The publisher tallies every result file while it writes it, and `metrics.json` carries the figures: so
    whoever has the directory can prove it whole. `batchd verify` tallies again while it reads.

DIAGNOSTICS
    None: bytes in, figures out.
"""

import hashlib
from collections.abc import Iterable, Iterator


class Tally:
    """Counts and hashes what is added. A line is what ends with a newline."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.lines = 0

    def __repr__(self) -> str:
        return f"<Tally {self.lines} lines, {self.size_bytes} bytes>"

    def add(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.size_bytes += len(piece)
        self.lines += piece.count(b"\n")

    def passed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, each tallied as it goes by."""
        for piece in pieces:
            self.add(piece)
            yield piece

    @property
    def sha256(self) -> str:
        """Of all that was added, as hex digits."""
        return self._digest.hexdigest()

    def figures(self) -> dict[str, object]:
        """As `metrics.json` has them."""
        return {"sha256": self.sha256, "bytes": self.size_bytes, "lines": self.lines}
