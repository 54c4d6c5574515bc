"""A whole house over a real spool and real journals, with a scripted model server and nobody else.

SUMMARY
    premises = Premises(tmp_path, Script())
    batch_id = premises.drop(lines)
    async with premises.at_work():
        result = await premises.result(batch_id)

DIAGNOSTICS
    AssertionError: a wait reached its limit.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchd.app.engines import Engine, as_wished
from batchd.app.house import House
from batchd.app.outside import Outside
from batchd.core.json import dumps, loads
from batchd.core.limits import Limits
from batchd.core.model import Load
from batchd.core.rules import Rules
from batchd.core.status import ModelStatus
from batchd.daemon.supervisor import Supervisor
from batchd.edges.spool import Spool, final_name, submit_file
from tests.fakes.fake_bell import FakeBell
from tests.fakes.fake_gauges import FakeGauges, FakeInhibitor
from tests.fakes.made_batch import Line, content
from tests.fakes.near_schemas import NearSchemas
from tests.fakes.scripted_model import Script, ScriptedServer
from tests.fakes.silent_service import SilentService

#: Generous: a wait that ends here is a hang.
WAIT_S = 20.0


class QuickClock:
    """The port `Clock`: each sleep is some milliseconds, whatever its length; none ends while it `stands`."""

    def __init__(self) -> None:
        self._slept_s = 0.0
        self.stands = False

    def now(self) -> float:
        return 1_700_000_000.0 + self._slept_s  # before the files of the test were made: none is old

    def monotonic(self) -> float:
        return 1_000.0 + self._slept_s

    def random(self) -> float:
        return 0.5

    def pass_by(self, duration_s: float) -> None:
        """So much time has passed, and nobody had a turn."""
        self._slept_s += duration_s

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(min(duration_s, 0.003))
        while self.stands:  # noqa: ASYNC110 - a test's clock may be slow to go on
            await asyncio.sleep(0.003)
        self._slept_s += duration_s


class Premises:
    """A spool, a server, and one house after the other over them."""

    def __init__(self, root: Path, script: Script | None = None) -> None:
        self.root = root / "spool"
        self.spool = Spool.open(self.root)
        self.server = ScriptedServer(script)
        self.others: dict[str, ScriptedServer] = {}
        self.service = SilentService()
        self.bell = FakeBell()
        self.clock = QuickClock()
        self.rules = Rules(slots=2, settle_s=0.0)
        self.drain_s = 30.0
        self.final_name: Callable[[bytes, str], str] = final_name
        self.gpus = ["a card"]
        self.advise: Callable[[Load], Awaitable[Load]] = as_wished
        self.gauges = FakeGauges()
        self.inhibitor = FakeInhibitor()
        self.house = self.build()

    def build(self, only: frozenset[str] | None = None) -> House:
        """Another house over the same spool: a restart, as far as the spool can see."""
        self.bell = FakeBell()
        outside = Outside(
            spool=self.spool,
            clock=self.clock,
            service=self.service,
            bell=self.bell,
            engines=self.engines(),
            final_name=self.final_name,
            new_batch_id=lambda: f"batch_{secrets.token_hex(16)}",
            describe_model=lambda engine, supervisor: ModelStatus(
                "scripted", engine.address, supervisor.standing.state.value
            ),
            provenance=lambda engine, supervisor: {
                "engine": self.engine_of(supervisor),
                "gpus": self.gpus,
            },
            gauges=self.gauges,
            inhibitor=self.inhibitor,
            schemas=NearSchemas(),
            pid=1,
        )
        self.house = House(outside, self.rules, {"model": None}, self.drain_s, only)
        return self.house

    def engines(self) -> list[Engine]:
        """One for each server; they have names where there are several."""
        limits = Limits(2, owns_slots=True)
        if not self.others:
            return [Engine(self.server, limits, "scripted", "nowhere", "", advise=self.advise)]
        return [
            Engine(server, limits, "scripted", name, "", advise=self.advise, label=name)
            for name, server in {"one": self.server, **self.others}.items()
        ]

    @staticmethod
    def engine_of(supervisor: Supervisor) -> str | None:
        """As the provenance names it: unknown before the first load."""
        return supervisor.description.version if supervisor.description else None

    def set_rules(self, **changes: Any) -> None:
        """For the next house."""
        self.rules = replace(self.rules, **changes)

    def drop(
        self, lines: Sequence[Line | None] | bytes, name: str = "reviews.jsonl", **options: object
    ) -> str:
        """Hand a file in; the id of its batch."""
        batch_id = f"batch_{secrets.token_hex(16)}"
        self.drop_as(batch_id, lines, name, **options)
        return batch_id

    def drop_as(
        self,
        batch_id: str,
        lines: Sequence[Line | None] | bytes,
        name: str = "reviews.jsonl",
        **options: object,
    ) -> None:
        """With an id of the test's choice."""
        source = self.root.parent / "handed-in.jsonl"
        source.write_bytes(lines if isinstance(lines, bytes) else content(lines))
        submit_file(self.root, source, name, {"batch_id": batch_id, **options})
        self.bell.ring()

    def control(self, batch_id: str, verb: str = "cancel") -> None:
        (self.root / "control" / f"{batch_id}.{verb}").touch()

    async def closing(self, batch_id: str) -> None:
        """Wait until the house has begun to end this batch early."""

        def is_closing() -> bool:
            batch = self.house.roster.held.get(batch_id)
            return batch is not None and batch.closing is not None

        await self.until(is_closing)

    def controls(self) -> list[str]:
        return sorted(path.name for path in (self.root / "control").iterdir())

    @contextlib.asynccontextmanager
    async def at_work(self, until: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
        """The house runs for as long as the block lasts, and is stopped at its end."""
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            group.create_task(self.house.run(until))
            yield
            self.house.stop()

    async def run_to_its_end(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.house.run()

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():  # noqa: ASYNC110 - what is waited for happens in threads and on the disk
                await asyncio.sleep(0.005)

    async def result(self, batch_id: str) -> Path:
        """The result directory, once it is there."""
        await self.until(lambda: self.spool.result_path(batch_id))
        path = self.spool.result_path(batch_id)
        assert path is not None
        return Path(path)

    def processing(self) -> list[str]:
        return sorted(path.name for path in (self.root / "processing").iterdir())


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a result file; none where there is no file."""
    return [read_object(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def read_object(raw: bytes) -> dict[str, Any]:
    value = loads(raw)
    assert isinstance(value, dict)
    return value


def codes(result: Path) -> dict[str, str]:
    """custom_id to "answered" or the code of its error."""
    answered = {line["custom_id"]: "answered" for line in records(result / "output.jsonl")}
    failed = {line["custom_id"]: _code(line) for line in records(result / "errors.jsonl")}
    return answered | failed


def batch_of(result: Path) -> dict[str, Any]:
    return read_object((result / "batch.json").read_bytes())


def metrics_of(result: Path) -> dict[str, Any]:
    return read_object((result / "metrics.json").read_bytes())


def _code(line: Mapping[str, Any]) -> str:
    error = line["error"] if line["response"] is None else line["response"]["body"]["error"]
    return str(error["code"])


def options_of(**options: object) -> bytes:
    return dumps(options)
