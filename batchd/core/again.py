"""Again: a file that came into the inbox under the name of one that was claimed a moment ago.

SUMMARY
    A program that appends by opening the file, writing a row and closing it looks finished after each row: no
    writer holds the file, and it lies still until the next row. Each claim then takes what is there, and the
    next row begins a new file of the same name, which becomes a batch of its own. Nothing of it is lost, but
    nobody wanted so many batches. It cannot be known beforehand, so it is said when it happens.

DIAGNOSTICS
    None: names and times in, a sentence out.
"""

#: A script that appends row by row waits seconds between two rows, and no more than that is "at once".
AGAIN_S = 60.0

#: Where files settle for longer than that, their writers are as slow.
_SETTLE_TIMES = 3

#: Names remembered; a spool that claims more in a minute is fed by a program that knows what it does.
_NAMES_MAX = 1_000


class Reappearing:
    """The names that were claimed last, each with its owner, its batch and the moment (monotonic)."""

    def __init__(self) -> None:
        self._claimed: dict[tuple[bytes, int], tuple[str, float]] = {}

    def __repr__(self) -> str:
        return f"<Reappearing {len(self._claimed)} names>"

    def claim(self, name: bytes, uid: int, batch_id: str, now: float, settle_s: float) -> str:
        """Remember this claim. What is to be said of it; empty where the name is new."""
        before = self._claimed.pop((name, uid), None)  # so that the newest stand last
        self._claimed[name, uid] = (batch_id, now)
        if len(self._claimed) > _NAMES_MAX:
            del self._claimed[next(iter(self._claimed))]
        if before is None or now - before[1] > max(AGAIN_S, _SETTLE_TIMES * settle_s):
            return ""
        return (
            f"A file of this name came again {now - before[1]:.0f} s after {before[0]} was claimed: if both "
            "are parts of one, its writer was not done; let it write under a name with a leading dot and "
            f"rename it at the end, or raise settle_s ({settle_s:g} s)."
        )
