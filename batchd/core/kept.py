"""Kept: whether a server keeps the prompts that its slots gave up, as its counts show.

SUMMARY
    Kept    told of each run that comes into a slot which had another one; `runs` are those that come from
            memory into any slot

    Current servers keep such prompts in host memory (llama.cpp: 8 GiB by default) and bring them into any
    slot; no API says whether one does. But then beginnings are found in slots that never had them.

DIAGNOSTICS
    None: values in, values out.
"""

#: So many times a beginning was in a slot that never had it: the server brings them there. And again not,
#: when more than a quarter of them were missed: its memory for them is too small.
BROUGHT_MIN = 4
MISSED_SHARE = 0.25


class Kept:
    """Of one server. Runs are known by their numbers."""

    def __init__(self, run_count: int) -> None:
        self._read = bytearray(run_count)  # some slot has read it
        self._brought = self._missed = 0

    def __repr__(self) -> str:
        return f"Kept({sum(self._read)} read, {self._brought} brought, {self._missed} missed)"

    @property
    def runs(self) -> bytearray:
        """Of each run, whether it comes from memory; empty where nothing is kept."""
        keeps = self._brought >= BROUGHT_MIN and self._missed <= MISSED_SHARE * self._brought
        return self._read if keeps else bytearray()

    def came(self, run: int, is_brought: bool | None) -> None:
        """A slot that had another run has answered a request of this one. `is_brought`: whether its beginning
        was there all the same; None: nobody can tell that from what the slot held itself."""
        if self._read[run] and is_brought is not None:
            self._brought += is_brought
            self._missed += not is_brought
        self._read[run] = 1

    def forget(self) -> None:
        """The server has gone, and its memory with it. Whether it keeps anything is still known."""
        self._read[:] = bytes(len(self._read))
