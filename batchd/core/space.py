"""Space: how much of the disk a batch may take, and when everything pauses.

SUMMARY
    A batch is admitted when its copy, its journal and its results fit beside what others were promised and a
    reserve. The reserve is there because estimates are wrong and other programs write too: below it nothing
    new is sent to the model, and it goes on above one and a half times the reserve, so that it does not
    flutter. What runs may end and be published: that is what the reserve is for.

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


def in_units(size_bytes: float) -> str:
    """A size for people, in the unit that leaves at most four digits before the point."""
    for unit in ("bytes", "KB", "MB"):
        if size_bytes < 1_000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1_000
    return f"{size_bytes:,.1f} GB"


class Space:
    """What is free and what is promised. `measure` is called every second."""

    def __init__(self, disk_bytes: int, reserve_bytes: int | None = None) -> None:
        self._is_known = disk_bytes > 0
        self._disk_bytes = disk_bytes
        self.reserve_bytes = default_reserve_bytes(disk_bytes) if reserve_bytes is None else reserve_bytes
        self._promised: dict[str, int] = {}
        self._free_bytes = disk_bytes
        self._looks_left = 0  # until what was refused is tried again
        self.is_short = False

    def __repr__(self) -> str:
        free, reserve = in_units(self._free_bytes), in_units(self.reserve_bytes)
        return f"<Space {free} free, reserve {reserve}, {len(self._promised)} promises>"

    def measure(self, free_bytes: int) -> None:
        """So much is free now."""
        self._free_bytes = free_bytes
        limit = self.reserve_bytes * (RESUME_FACTOR if self.is_short else 1)
        self._looks_left = max(0, self._looks_left - 1)
        self.is_short = self._looks_left > 0 or (self._is_known and free_bytes < limit)

    def refuse(self) -> None:
        """A write was refused for want of space, whatever the numbers say."""
        self._looks_left = REFUSED_LOOKS
        self.is_short = True

    def notice(self) -> str:
        """What a person must know; empty while there is room."""
        if not self.is_short:
            return ""
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
        """Why there is no room for this batch now; empty when there is."""
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
        return self.is_short and taken_bytes > OUTGROWN_FACTOR * promised and is_its_doing

    def promise(self, batch_id: str, line_count: int) -> None:
        """Keep room for what is to come of this batch, until `release`."""
        self._promised[batch_id] = bytes_to_come(line_count)

    def release(self, batch_id: str) -> None:
        """It is published, or was not taken in."""
        self._promised.pop(batch_id, None)
