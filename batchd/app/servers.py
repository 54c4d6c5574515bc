"""Servers: every model server of the house, each with its supervisor.

SUMMARY
    Seat       one server: the engine that the settings name, and who keeps its model ready
    Servers    all of them; what concerns each is told to each

    A server has a name only where there are several, and everything that is said of it then names it.

DIAGNOSTICS
    None of its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from batchd.app.engines import Engine
from batchd.core.limits import Change
from batchd.core.status import ModelStatus
from batchd.daemon.ports import Clock
from batchd.daemon.supervisor import Supervisor

Describe = Callable[[Engine, Supervisor], ModelStatus]
Tell = Callable[[Engine, Supervisor], dict[str, object]]


@dataclass(frozen=True, slots=True)
class Seat:
    """One model server. `tell` knows its provenance, and may block."""

    engine: Engine
    supervisor: Supervisor
    tell: Tell

    @property
    def name(self) -> str:
        return self.engine.label

    def provenance(self) -> dict[str, object]:
        return self.tell(self.engine, self.supervisor)


class Servers:
    """All model servers. `on_change` is told whose decision it was, by its place among them."""

    def __init__(
        self,
        engines: Sequence[Engine],
        clock: Clock,
        on_change: Callable[[int, Change], None],
        tell: Tell,
        waits_for_operator: bool,
    ) -> None:
        self.seats = [
            Seat(
                engine,
                Supervisor(
                    engine.server,
                    clock,
                    engine.limits,
                    partial(on_change, place),
                    waits_for_operator,
                    engine.label,
                ),
                tell,
            )
            for place, engine in enumerate(engines)
        ]

    def __repr__(self) -> str:
        return f"Servers({[seat.supervisor for seat in self.seats]})"

    @property
    def is_ready(self) -> bool:
        """Whether any of them answers requests."""
        return any(seat.supervisor.standing.is_ready for seat in self.seats)

    def set_patience(self, give_up_s: float | None) -> None:
        """How long one that cannot be used is waited for."""
        for seat in self.seats:
            seat.supervisor.give_up_s = give_up_s

    def press(self, evidence: str) -> None:
        """The machine is short of memory."""
        for seat in self.seats:
            seat.supervisor.press(evidence)

    def woke(self) -> None:
        """The machine was suspended."""
        for seat in self.seats:
            seat.supervisor.woke()

    def begin_account(self) -> None:
        """A batch begins."""
        for seat in self.seats:
            seat.supervisor.begin_account()

    async def forget(self, batch_id: str) -> None:
        """A batch is done."""
        for seat in self.seats:
            await seat.engine.forget(batch_id)

    async def release(self) -> None:
        """Put the models out; side by side, since one that hangs takes its time."""
        async with asyncio.TaskGroup() as group:
            for seat in self.seats:
                group.create_task(seat.supervisor.release())

    async def close(self) -> None:
        """End what we started."""
        async with asyncio.TaskGroup() as group:
            for seat in self.seats:
                group.create_task(seat.engine.server.close())

    def describe(self, describe: Describe) -> list[ModelStatus]:
        """For the status."""
        return [describe(seat.engine, seat.supervisor) for seat in self.seats]

    def provenance(self) -> Mapping[str, object]:
        """Of the machine, and of the servers as they are now."""
        told = [seat.provenance() for seat in self.seats]
        if len(told) == 1:
            return told[0]
        named = [
            {"name": seat.name, "engine": facts.get("engine")}
            for seat, facts in zip(self.seats, told, strict=True)
        ]
        return {**told[0], "servers": named}
