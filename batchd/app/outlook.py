"""Outlook: whether there is room to go on, on the disk and in memory, and what the batch at work is told.

SUMMARY
    may_send    whether new requests may be sent to the model now
    notice      why not, for the status
    run         the lookout, for as long as the house stands

    Readings and what they lead to go to the desk: its batch reports the peaks, and its journal has each hold.

DIAGNOSTICS
    None of its own; the lookout says what it sees.
"""

from collections.abc import Callable

from batchd.app.desk import Desk
from batchd.core.limits import Change
from batchd.core.readings import Eased, Happened, Held, Reading, Strained, Woke
from batchd.core.space import Space
from batchd.daemon.lookout import Lookout
from batchd.daemon.ports import Clock, Gauges, SleepInhibitor


class Outlook:
    """The space on the disk and the memory of the machine, together. `desk`: the one at work, if any."""

    def __init__(
        self,
        gauges: Gauges,
        inhibitor: SleepInhibitor,
        clock: Clock,
        space: Space,
        desk: Callable[[], Desk | None],
        on_strained: Callable[[str], None] = lambda text: None,
        on_woke: Callable[[], None] = lambda: None,
    ) -> None:
        self._space = space
        self._on_strained, self._on_woke = on_strained, on_woke
        self._desk = desk
        self._lookout = Lookout(
            gauges, inhibitor, clock, lambda: desk() is not None, self._on_reading, self.on_happened
        )

    def __repr__(self) -> str:
        return f"Outlook({self._space!r}, {self._lookout!r})"

    def may_send(self) -> bool:
        """Whether new requests may be sent to the model now."""
        return not (self._space.is_short or self._lookout.is_held)

    def notice(self) -> str:
        """What a person must know; empty while there is room."""
        return "; ".join(filter(None, (self._space.notice(), self._lookout.notice())))

    async def run(self) -> None:
        """Until cancelled."""
        await self._lookout.run()

    def _on_reading(self, reading: Reading) -> None:
        if (desk := self._desk()) is not None:
            desk.add_reading(reading)

    def on_happened(self, happened: Happened) -> None:
        """What the lookout saw."""
        if (desk := self._desk()) is not None and (change := change_of(happened)) is not None:
            desk.log_change(change)
        match happened:
            case Strained(text):
                self._on_strained(text)
            case Woke():
                self._on_woke()
            case _:
                pass


def change_of(happened: Happened) -> Change | None:
    """As it is journaled; None for what is only said."""
    match happened:
        case Held(text):
            return Change("dispatch_held", "sending", "held", text)
        case Eased(text):
            return Change("dispatch_held", "held", "sending", text or "memory is free again")
        case Strained(text):
            return Change("memory_strained", "", "", text)
        case Woke(slept_s):
            return Change("machine_woke", "", f"asleep for {slept_s:.0f} s", "the clocks of the machine")
        case _:
            return None
