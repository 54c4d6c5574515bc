"""Ports: what the rooms need from the world, as shapes. The edges fit them without importing them.

SUMMARY
    Clock            time, the only way to it
    Bell             a hint that the inbox may have changed
    Spool            every directory and file of the spool; the only renamer (see `spool_port`)
    Journal          one batch's durable memory (LMDB behind it)
    ModelServer      one model server: Ollama or llama.cpp
    ServiceManager   systemd's notify socket
    ReadyModel       the supervisor, as the dispatcher sees it
    Gauges           what can be measured of this machine
    SleepInhibitor   keeps the machine awake
    Schemas          what the answers of a batch shall look like

    `Batch` is an accepted batch on its way through the rooms.

    A port's values live in the core. A method that waits takes a limit in seconds or has one of its own.

DIAGNOSTICS
    None: shapes only. Each port says which error its methods raise.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from batchd.core.course import Cohort
from batchd.core.fault import ModelFault
from batchd.core.lifecycle import Phase
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.core.pause import Pause
from batchd.core.readings import Reading
from batchd.core.record import Event, LineRow, NewLine, Outcome, Plan, Progress, Salvaged, Shares
from batchd.core.request import Request
from batchd.core.schema import Breach
from batchd.core.sieve import Looked
from batchd.daemon.spool_port import Spool as Spool


class Clock(Protocol):
    """Wall time for people and files, monotonic time for waits."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    async def sleep(self, duration_s: float) -> None:
        """Wait."""

    def random(self) -> float:
        """Chance: a number in [0, 1)."""


class Bell(Protocol):
    """Rings when something may have changed. It may ring too often and may miss: a sweep is the truth."""

    async def wait(self, timeout_s: float) -> bool:
        """True when it rang, False at the limit. Never raises: a broken watcher only means slow sweeps."""

    async def run(self) -> None:
        """Watch until `close`; the owner runs it as a task."""

    async def close(self) -> None:
        """End `run`, and whoever waits."""


class Journal(Protocol):
    """The durable memory of one batch. Methods raise JournalError when LMDB or the disk fails us.

    One writer thread owns all write transactions. Blocking methods are for threads other than the event
    loop's; `record` and `intend` are for the event loop and are grouped into one commit with what waits.
    """

    def claim_custom_ids(self, custom_ids: Sequence[str | None], first_index: int) -> set[int]:
        """Enter these ids; the indices whose id was taken before (by an earlier line)."""

    def add_lines(self, lines: Sequence[NewLine]) -> None:
        """Write a run of lines, with the result rows of those that are faulty already."""

    def accept(self, plan: Plan, meta: Mapping[str, str]) -> None:
        """End of intake: groups, order and `meta` durable, and with them the phase `ready`."""

    def is_nearly_full(self) -> bool:
        """Whether it comes near to the largest size that it can have; what is pending can still be ended."""

    def phase(self) -> Phase | None:
        """None: intake did not finish."""

    def set_phase(self, phase: Phase, meta: Mapping[str, str]) -> None:
        """Change the phase, together with these meta values; durable on return."""

    def note(self, name: str, value: str) -> None:
        """Set one meta value; durable with the next commit, and no later than what is recorded after it."""

    def meta(self) -> Mapping[str, str]:
        """All meta values."""

    def progress(self) -> Progress:
        """The counters, as of the last commit."""

    def plan(self) -> Plan:
        """Groups and order, as accepted."""

    def shares(self, groups: Sequence[int]) -> Shares:
        """What the answers of these groups have cost, of all lanes, and over time."""

    def finished(self) -> bytearray:
        """One byte for each line: 1 where it has its outcome."""

    def attempts(self) -> Mapping[int, tuple[int, int]]:
        """Index to (attempts, crashes) of unfinished lines that had a fault before."""

    def salvage_from(self, path: str) -> Salvaged:
        """Before the end of intake: take over each whole result of a damaged journal, and what gave them."""

    def forget_intents(self) -> int:
        """Recovery: drop the rows of what was running when the daemon died; how many."""

    def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
        """The rows of these lines."""

    def read_answers(self, indices: Sequence[int]) -> Mapping[int, bytes]:
        """The result lines of these lines, where they have an answer; without newline."""

    def results(self) -> Iterator[tuple[int, bool, bytes]]:
        """(index, is_error, result line without newline) in input order; verifies each CRC."""

    def record(self, outcome: Outcome) -> asyncio.Future[None]:
        """Write one outcome; the future is done when it is durable. The first result of a line wins."""

    def intend(self, indices: Sequence[int]) -> asyncio.Future[None]:
        """Write that these lines are about to be sent; the future is done when that is durable."""

    def add_worked(self, duration_s: float) -> None:
        """Add time in which this batch was worked on to `Progress.worked_s`; durable with the next commit."""

    def log_event(self, event: Event) -> None:
        """Add a decision to the bounded ring of events; durable with the next commit."""

    def flush(self) -> None:
        """Return when all that was noted, added and logged before can be read."""

    def events(self) -> Sequence[Event]:
        """The ring, oldest first."""

    @property
    def waits_for_room(self) -> bool:
        """Whether the disk is full: what waits becomes durable when there is room again."""

    @property
    def pulse(self) -> int | None:
        """The writer's steps so far, while something waits for it; None when it has nothing to do."""

    def close(self) -> None:
        """Finish what is queued and close."""


class ModelServer(Protocol):
    """One model server. Faults are returned, never raised; a cancelled call frees the slot it held."""

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        """Who answers, if it answers."""

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        """What each of these names stands for here, without a load; unknown names are left out."""

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        """Bring the model in with exactly this window and these slots; again when they differ."""

    async def unload(self, timeout_s: float) -> None:
        """Put the model out, and give the server back the way it was found."""

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot of the last load."""

    async def count_tokens(self, request: Request) -> int | None:
        """The prompt's tokens, exactly; None where the server cannot tell."""

    async def restart(self, timeout_s: float) -> ModelFault | None:
        """Make room for a fresh load after a death or a hang; None when that was possible."""

    async def close(self) -> None:
        """End what we started: connections, a child, an own server."""


class Schemas(Protocol):
    """Schemas and answers of strangers, looked at where that can be ended.

    Both raise UnavailableError where nothing can be looked at.
    """

    def refusal(self, schema: bytes) -> Looked:
        """Why this schema cannot be used, if so. Blocking."""

    async def breach(self, schema: bytes, value: bytes) -> Breach | None:
        """What is wrong with this JSON; None where it holds."""


class ServiceManager(Protocol):
    """systemd, or nobody."""

    def ready(self) -> None:
        """Recovery is over and the first sweep was made."""

    def status(self, line: str) -> None:
        """One line for `systemctl status`."""

    def reloading(self, monotonic_s: float) -> None:
        """Settings are read again, from this moment until the next `ready`."""

    def stopping(self, drain_s: float) -> None:
        """We drain, for at most so long."""

    def ping(self) -> None:
        """The event loop and the journals move."""


class ReadyModel(Protocol):
    """The supervisor: one model server, kept ready. `name` is empty where there is no other."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int:
        """Among the servers of this batch, from 0; the same in each life of the daemon."""

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        """Wait as long as it takes until the model is resident and a canary passed; a permanent fault if not.

        None when `is_wanted` became false meanwhile. Slots and window of the load are wishes: the governor
        may give less, but no window below `window_tokens_min`, in which nothing of the section could run.
        """

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot."""

    async def count_tokens(self, request: Request) -> int | None:
        """The prompt's tokens, exactly; None where the server cannot tell."""

    def suspect(self, fault: ModelFault, is_trial: bool = False) -> None:
        """The server died or hangs: the next `ensure` begins with a restart and a canary.

        `is_trial`: it held nothing but requests that were under suspicion, so it is they who are tried.
        """

    def finished(self, cohort: Cohort) -> bool:
        """As many answers as the chunk holds are here. True: `ensure` has something else to give now."""

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        """No suspect is left. These requests caused so many deaths by themselves; the others are cleared."""


class Gauges(Protocol):
    """Cards, memory, pressure: whatever can be had."""

    async def read(self, timeout_s: float) -> Reading | None:
        """None when it did not come in time. Never raises: what is not there is absent in the reading."""


class SleepInhibitor(Protocol):
    """Keeps the machine from suspending by itself. Both may be repeated; neither raises."""

    async def hold(self) -> None:
        """As long as there is work."""

    async def release(self) -> None:
        """There is none."""


@dataclass(slots=True)
class Batch:
    """An accepted batch. `closing` is set when its pending requests shall end as expired or cancelled.

    `pause` is set while it waits for a person: nothing new is sent, what is in flight may end.
    """

    id: str
    name: bytes
    journal: Journal
    input: BinaryIO
    closing: ModelFault | None = None
    pause: Pause | None = None
