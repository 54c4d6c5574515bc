"""Space: how much of the disk a batch may take, and when everything pauses.

SUMMARY
    A batch is admitted when its copy, its journal and its results fit beside what others were promised and a
    reserve. The reserve is there because estimates are wrong and other programs write too: below it nothing
    new is sent to the model, and it goes on above one and a half times the reserve, so that it does not
    flutter. What runs may end and be published: that is what the reserve is for.

    A file system may run out of inodes long before it runs out of bytes: files that may still be made have a
    reserve of their own, and what a batch will make is counted like its bytes.

    A disk may refuse a write while it says that there is room: a quota is used up, or what is left is kept
    for others. That pauses as well, for some looks.

DIAGNOSTICS
    None: values in, decisions out. Where a file system does not say its size, only a refused write pauses.
"""

#: The reserve: a twentieth of the disk, at least 1 GiB. At most 4 GiB, because what is in flight and one
#: publication need no more, and a large disk that is nearly full is no reason to stand still. At most an
#: eighth of the disk, so that a small one (a container's, a RAM disk) can work at all.
RESERVE_SHARE = 1 / 20
RESERVE_BYTES_MIN = 2**30
RESERVE_BYTES_MAX = 4 * 2**30
RESERVE_SHARE_MAX = 1 / 8

#: Files of a batch: directories, copy, original, journal and results, one at a time of each. The reserve is
#: for a batch or two that are being published; of a file system with few inodes it is no more than an eighth.
FILES_OF_A_BATCH = 16
FILES_RESERVE = 32

#: Paused below the reserve, on again above this many times the reserve.
RESUME_FACTOR = 1.5

#: Long answers take some times what is guessed for them; a batch that took more than that is another kind.
OUTGROWN_FACTOR = 4

#: So many looks after a write was refused, sending is tried again: often enough for who has made room, and
#: seldom enough to cost nothing.
REFUSED_LOOKS = 5

#: One result line: some 500 bytes of envelope and an answer of 150 tokens. A guess, with the reserve for its
#: error.
RESULT_LINE_BYTES = 1_200

#: Results are written into the journal, whose pages are copied as they change, and once more into publish/.
_JOURNAL_FACTOR = 2
_PUBLISH_FACTOR = 1


def default_reserve_bytes(disk_bytes: int) -> int:
    """For a disk of this size."""
    wanted = max(disk_bytes * RESERVE_SHARE, RESERVE_BYTES_MIN)
    return int(min(wanted, RESERVE_BYTES_MAX, disk_bytes * RESERVE_SHARE_MAX))


def bytes_to_come(line_count: int) -> int:
    """What the journal and the results of a batch of so many lines will take."""
    return line_count * RESULT_LINE_BYTES * (_JOURNAL_FACTOR + _PUBLISH_FACTOR)


def files_reserve(files: int) -> int:
    """For a file system that can hold so many files; 0: it does not count them."""
    return min(FILES_RESERVE, int(files * RESERVE_SHARE_MAX))


def no_files_left(files: int, free_files: int) -> str:
    """What ENOSPC means on a file system with so many inodes; empty where it is not they that lack."""
    if not files or free_files > 0:
        return ""
    return "all inodes are used, so no further file can be made, however many bytes are free (see df -i)"


def in_units(size_bytes: float) -> str:
    """A size for people, in the unit that leaves at most four digits before the point."""
    for unit in ("bytes", "KB", "MB"):
        if size_bytes < 1_000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1_000
    return f"{size_bytes:,.1f} GB"


class Space:
    """What is free and what is promised. `measure` is called every second."""

    def __init__(self, disk_bytes: int, reserve_bytes: int | None = None, files: int = 0) -> None:
        self._is_known = disk_bytes > 0
        self._disk_bytes = disk_bytes
        self._files_reserve = files_reserve(files)
        self._free_files: int | None = None
        self.reserve_bytes = default_reserve_bytes(disk_bytes) if reserve_bytes is None else reserve_bytes
        self._promised: dict[str, int] = {}
        self._free_bytes = disk_bytes
        self._looks_left = 0  # until what was refused is tried again
        self.is_short = False

    def __repr__(self) -> str:
        free, reserve = in_units(self._free_bytes), in_units(self.reserve_bytes)
        return f"<Space {free} free, reserve {reserve}, {len(self._promised)} promises>"

    def measure(self, free_bytes: int, free_files: int | None = None) -> None:
        """So much is free now. `free_files`: None where the file system does not count them."""
        self._free_bytes, self._free_files = free_bytes, free_files
        factor = RESUME_FACTOR if self.is_short else 1
        self._looks_left = max(0, self._looks_left - 1)
        lacks_bytes = self._is_known and free_bytes < self.reserve_bytes * factor
        self.is_short = self._looks_left > 0 or lacks_bytes or self._lacks_files(factor)

    def _lacks_files(self, factor: float = 1) -> bool:
        return self._free_files is not None and self._free_files < self._files_reserve * factor

    def refuse(self) -> None:
        """A write was refused for want of space, whatever the numbers say."""
        self._looks_left = REFUSED_LOOKS
        self.is_short = True

    def notice(self) -> str:
        """What a person must know; empty while there is room."""
        if not self.is_short:
            return ""
        if self._lacks_files(RESUME_FACTOR) and self._free_bytes >= self.reserve_bytes:
            files_again = int(self._files_reserve * RESUME_FACTOR)
            return (
                f"the file system is short of inodes: {self._free_files} more files may be made (df -i), "
                f"though {in_units(self._free_bytes)} are free; delete some, it goes on from {files_again}"
            )
        if self._looks_left and self._free_bytes >= self.reserve_bytes:
            return (
                f"the disk takes nothing more, though {in_units(self._free_bytes)} are free: make room, or "
                "raise the quota; batchd tries again every few seconds"
            )
        again = in_units(self.reserve_bytes * RESUME_FACTOR)
        return (
            f"the disk is short of space: {in_units(self._free_bytes)} are free; "
            f"make room, the work goes on above {again}"
        )

    def refusal(self, input_bytes: int, line_count: int, free_bytes: int) -> str:
        """Why there is no room for this batch now; empty when there is. Inodes are those of the last look."""
        needed_files = FILES_OF_A_BATCH + self._files_reserve
        if self._free_files is not None and self._free_files < needed_files:
            return (
                f"there are too few inodes on the disk: it needs {FILES_OF_A_BATCH} and a reserve of "
                f"{self._files_reserve}, and {self._free_files} more files may be made (df -i)"
            )
        if not self._is_known:
            return ""
        needed = input_bytes + bytes_to_come(line_count)
        # list(): promises are given back on another thread.
        promised = sum(list(self._promised.values()))
        if needed + promised + self.reserve_bytes <= free_bytes:
            return ""
        beside = f" beside the {in_units(promised)} of other batches" if promised else ""
        return (
            f"there is no room on the disk: it needs {in_units(needed)}{beside} and a reserve of "
            f"{in_units(self.reserve_bytes)}, and {in_units(free_bytes)} are free"
        )

    def never(self, input_bytes: int, line_count: int) -> str:
        """Why this batch finds no room even if everything else is taken away; empty when it may."""
        needed = input_bytes + bytes_to_come(line_count) + self.reserve_bytes
        if not self._is_known or needed <= self._disk_bytes:
            return ""
        return (
            f"The batch needs {in_units(needed)} with the reserve, and the whole disk has "
            f"{in_units(self._disk_bytes)}: hand it in in parts."
        )

    def is_outgrown(self, taken_bytes: int, input_bytes: int, line_count: int) -> bool:
        """Whether the disk is short because of this batch: it took several times what it was promised, and if
        it had kept to that, there would be room."""
        promised = input_bytes + bytes_to_come(line_count)
        without = self._free_bytes + taken_bytes - promised
        is_its_doing = without >= self.reserve_bytes * RESUME_FACTOR
        lacks_bytes = self.is_short and not self._lacks_files(RESUME_FACTOR)
        return lacks_bytes and taken_bytes > OUTGROWN_FACTOR * promised and is_its_doing

    def promise(self, batch_id: str, line_count: int) -> None:
        """Keep room for what is to come of this batch, until `release`."""
        self._promised[batch_id] = bytes_to_come(line_count)

    def release(self, batch_id: str) -> None:
        """It is published, or was not taken in."""
        self._promised.pop(batch_id, None)
