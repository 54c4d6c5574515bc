"""A submitter of an inbox, as programs and people are: each drop in another way, and a book of what it did.

SUMMARY
    python -m tests.chaos.submitters INBOX OUTSIDE BOOK DROPS SEED SETTLE_S

    OUTSIDE is a directory of the same file system, for what is renamed in. A line of the book is one content:
    its SHA-256, the way, the id of the batch where it was named, and its fate:

        must    handed in whole: exactly one batch must have it
        may     taken back or replaced by the submitter itself, perhaps before it was claimed
        slow    we were held up between closing and opening it again, for about as long as a file must lie
                still: the parts may be taken for files of their own

    What is booked nowhere (the parts of a file, what a link leads to) must never be in a batch.

DIAGNOSTICS
    A traceback: the inbox refuses what a submitter may do.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from batchd.edges.spool import submit_file
from tests.batches import request_line

#: So many files may wait; more would only measure how long a list is.
WAITING_MAX = 150

#: A pause in the middle of a copy, in seconds.
PAUSE_S_MAX = 0.03

PATIENCE_S = 60.0
YEARS_AGO = 10**9

RSYNC_MODES = (
    (),
    ("--inplace",),
    ("--append",),
    ("--partial",),
    ("--partial-dir=.partial",),
    ("--delay-updates",),
)

ODD_STEMS = (
    b"-rf",
    b"new\nline",
    b"\xff\xfe",
    b"\x1b[2J",
    "\u202e".encode(),
    b"n" * 200,
    b"a b'\"c",
    b"%s{}",
)


class Submitter:
    """One of several at the same inbox; its names begin alike."""

    def __init__(self, inbox: Path, outside: Path, book: Path, seed: int, settle_s: float) -> None:
        self._inbox, self._outside, self._settle_s = inbox, outside, settle_s
        self._book = book.open("a", encoding="utf-8")
        self._chance = random.Random(seed)
        self._seed, self._number = seed, 0
        self._ways: tuple[Callable[[Path], None], ...] = (
            *(self.move, self.submit, self.copy, self.slow_copy, self.full_size_first, self.append_to_it) * 3,
            *(self.rsync_by_hand, self.hidden_directory, self.scp, self.swap, self.vanish) * 2,
            *(self.strange_thing, self.same_name_again, self.rsync),
        )

    def drop(self) -> None:
        """One, in a way of chance."""
        until = time.perf_counter() + PATIENCE_S
        while len(list(self._inbox.iterdir())) > WAITING_MAX and time.perf_counter() < until:
            time.sleep(0.01)
        way = self._chance.choice(self._ways)
        way(self._new_place())

    # --- contents and their book ---

    def _new_place(self) -> Path:
        self._number += 1
        odd = self._chance.choice(ODD_STEMS) if self._chance.random() < 0.15 else b""
        return self._inbox / os.fsdecode(b"%s%d-%d.jsonl" % (odd, self._seed, self._number))

    def _content(self) -> bytes:
        """Lines that nobody else has; mostly few, sometimes more than a pipe or a page holds."""
        self._number += 1
        lines = self._chance.choice((1, 2, 3, 3, 5, 60))
        rows = []
        for index in range(lines):
            row = request_line(index, system="x" * self._chance.choice((10, 500, 5_000)))
            row["custom_id"] = f"{self._seed}-{self._number}-{index}"
            rows.append(json.dumps(row).encode() + b"\n")
        return b"".join(rows)

    def _note(self, content: bytes, fate: str, way: str, batch_id: str = "") -> None:
        digest = hashlib.sha256(content).hexdigest()
        entry = {
            "sha256": digest,
            "fate": fate,
            "way": way,
            "batch_id": batch_id,
            "lines": content.count(b"\n"),
        }
        self._book.write(json.dumps(entry) + "\n")
        self._book.flush()

    def _parts(self, content: bytes) -> list[bytes]:
        cuts = sorted(self._chance.randrange(len(content)) for _ in range(self._chance.randint(1, 4)))
        return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]

    def _pause(self) -> None:
        time.sleep(self._chance.uniform(0, PAUSE_S_MAX))

    # --- complete at once ---

    def move(self, place: Path) -> None:
        content = self._content()
        source = self._outside / f"{self._seed}-{self._number}"
        source.write_bytes(content)
        self._note(content, "must", "mv")
        source.rename(place)

    def submit(self, place: Path) -> None:
        content, batch_id = self._content(), f"batch_{self._chance.randbytes(16).hex()}"
        source = self._outside / f"{self._seed}-{self._number}"
        source.write_bytes(content)
        self._note(content, "must", "batchd submit", batch_id)
        submit_file(self._inbox.parent, source, place.name, {"batch_id": batch_id})
        source.unlink()

    def rsync_by_hand(self, place: Path) -> None:
        """As rsync does: a hidden name beside it, an old time, one rename at the end."""
        content = self._content()
        hidden = self._inbox / f".{self._seed}-{self._number}.jsonl.Xa3b1z"
        with hidden.open("wb", buffering=0) as file:
            for part in self._parts(content):
                file.write(part)
                self._pause()
        os.utime(hidden, (YEARS_AGO, YEARS_AGO))
        self._note(content, "must", "rsync")
        hidden.rename(place)

    def hidden_directory(self, place: Path) -> None:
        """As `rsync --delay-updates` and `--partial-dir` do."""
        content = self._content()
        folder = self._inbox / ".~tmp~"
        folder.mkdir(exist_ok=True)
        hidden = folder / place.name
        with hidden.open("wb", buffering=0) as file:
            for part in self._parts(content):
                file.write(part)
                self._pause()
        self._note(content, "must", "rsync --delay-updates")
        hidden.rename(place)

    # --- a part is seen under the final name ---

    def copy(self, place: Path) -> None:
        content = self._content()
        self._note(content, "must", "cp")
        place.write_bytes(content)

    def slow_copy(self, place: Path) -> None:
        content = self._content()
        self._note(content, "must", "slow cp")
        parts = self._parts(content)
        with place.open("wb", buffering=0) as file:
            for part in parts[:-1]:
                file.write(part)
                self._pause()
            if self._chance.random() < 0.1:
                time.sleep(2 * self._settle_s)  # that it is open for writing is all that shows
            file.write(parts[-1])

    def full_size_first(self, place: Path) -> None:
        """As some clients of a file server do."""
        content = self._content()
        self._note(content, "must", "size first")
        with place.open("wb", buffering=0) as file:
            file.truncate(len(content))
            self._pause()
            for part in self._parts(content):
                file.write(part)
                self._pause()

    def append_to_it(self, place: Path) -> None:
        """A script with >>, which closes the file after each part."""
        content = self._content()
        closed_at, longest_s, written = time.perf_counter(), 0.0, b""
        parts = self._parts(content)
        for number, part in enumerate(parts):
            if number and time.perf_counter() - closed_at > self._settle_s / 2:
                self._note(written, "slow", ">>")
            with place.open("ab", buffering=0) as file:
                longest_s = max(longest_s, time.perf_counter() - closed_at if number else 0.0)
                if number + 1 == len(parts):
                    # Booked before it can be claimed, and after we know how long we took.
                    self._note(content, "slow" if longest_s > self._settle_s / 2 else "must", ">>")
                file.write(part)
            closed_at = time.perf_counter()
            written += part
            self._pause()

    def scp(self, place: Path) -> None:
        content = self._content()
        self._note(content, "must", "scp -p")
        with place.open("wb", buffering=0) as file:
            for part in self._parts(content):
                file.write(part)
            os.fchmod(file.fileno(), 0o640)
            os.utime(file.fileno(), (YEARS_AGO, YEARS_AGO))

    def rsync(self, place: Path) -> None:
        """The real one, in one of its modes."""
        if shutil.which("rsync") is None:
            self.rsync_by_hand(place)
            return
        mode = self._chance.choice(RSYNC_MODES)
        source = self._outside / place.name
        content = self._content()
        source.write_bytes(content)
        self._note(content, "must", " ".join(("rsync -a", *mode)))
        command = ["rsync", "-a", *mode, "--remove-source-files", f"{self._outside}/./{place.name}"]
        subprocess.run([*command, f"{self._inbox}/"], check=True, timeout=PATIENCE_S)

    # --- a submitter who changes his mind ---

    def swap(self, place: Path) -> None:
        """Another file takes the name, whether or not the first was claimed."""
        first, second = self._content(), self._content()
        self._note(first, "may", "replaced")
        place.write_bytes(first)
        self._pause()
        source = self._outside / f"{self._seed}-{self._number}"
        source.write_bytes(second)
        self._note(second, "must", "replacing")
        source.rename(place)

    def vanish(self, place: Path) -> None:
        content = self._content()
        self._note(content, "may", "taken back")
        place.write_bytes(content)
        time.sleep(self._chance.choice((0, 0, 0, 0, 2 * self._settle_s * self._chance.random())))
        with contextlib.suppress(FileNotFoundError):
            place.unlink()

    def same_name_again(self, place: Path) -> None:
        """The next file comes under the name as soon as it is free."""
        self.move(place)
        until = time.perf_counter() + PATIENCE_S
        while place.exists():
            if time.perf_counter() > until:
                raise TimeoutError(f"{place!r} is not claimed")
            time.sleep(0.005)
        self.move(place)

    def strange_thing(self, place: Path) -> None:
        """What is no file, or leads to one that is not ours to give. Taken back after a while."""
        content = self._content()
        secret = self._outside / f"secret-{self._seed}-{self._number}.jsonl"
        secret.write_bytes(content)
        match self._chance.randrange(4):
            case 0:
                os.mkfifo(place)
            case 1:
                place.symlink_to(secret)
            case 2:
                place.mkdir()
            case _:
                with socket.socket(socket.AF_UNIX) as unix, contextlib.chdir(place.parent):
                    unix.bind(os.fsencode(place.name)[:100])
                    place = place.parent / os.fsdecode(os.fsencode(place.name)[:100])
        time.sleep(self._settle_s)
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink()


def main() -> None:
    inbox, outside, book, drops, seed, settle_s = sys.argv[1:]
    submitter = Submitter(Path(inbox), Path(outside), Path(book), int(seed), float(settle_s))
    for _ in range(int(drops)):
        submitter.drop()


if __name__ == "__main__":
    main()
