"""A model server that says anything, and a whole house over it: every line has one outcome, and nobody falls.

SUMMARY
    The real rooms, journal, spool and edges of both engines, over a server that answers by chance
    (`tests/fakes/odd_replies`). BATCHD_TEST_ODD_ANSWERS is how many odd replies to strike with,
    BATCHD_TEST_SEED where chance begins.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd.app.engines import Engine
from batchd.core.limits import Limits
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.ollama import OllamaServer
from tests.app.premises import Premises, QuickClock
from tests.chaos.checker import outcomes_of, problems_of
from tests.chaos.tally import Books, tally
from tests.fakes.odd_replies import MODEL, OddReplies
from tests.fakes.odd_server import Asked, OddServer

ANSWERS = int(os.environ.get("BATCHD_TEST_ODD_ANSWERS", "600"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261129"))

#: Lines of one batch: a few of each endpoint on each engine, or many, which strike longer with one house.
LINES = min(2_000, max(100, ANSWERS // 6))
SLOTS = 8

#: In each prompt stands a word of this kind, and nowhere but in error lines may it be quoted.
SECRET = re.compile(r"zq\d{6}zq")

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

#: A batch that takes longer hangs, on the busiest machine.
WAIT_S = 1_800.0


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="batchd-odd-", dir=MEMORY))
    yield place
    shutil.rmtree(place)


class SwiftClock(QuickClock):
    """Waits are short: a server that is given up for hours is back in seconds."""

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(0.002 if duration_s >= 0.25 else 0)
        self._slept_s += duration_s


class OddPremises(Premises):
    """A house that talks to a server by one of the edges."""

    def __init__(self, root: Path, engine: str, address: str) -> None:
        self._engine, self._address = engine, address
        super().__init__(root)

    def engines(self) -> list[Engine]:
        self.clock = SwiftClock()
        server = (
            OllamaServer(self._address, "attach", self.clock)
            if self._engine == "ollama"
            else LlamaServer(url=self._address)
        )
        return [Engine(server, Limits(SLOTS, owns_slots=False), self._engine, self._address, "")]


def batch_file(kind: int, first: int) -> bytes:
    """Requests of one endpoint, each with a word that is nobody else's."""
    lines = []
    for number in range(first, first + LINES):
        word = f"zq{number:06}zq"
        url, body = (
            (
                "chat/completions",
                {"messages": [{"role": "user", "content": f"Say {word}."}], "max_tokens": 8},
            ),
            ("completions", {"prompt": f"Say {word}.", "max_tokens": 8}),
            ("embeddings", {"input": [f"Say {word}."] * (1 + number % 3)}),
        )[kind]
        line = {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": f"/v1/{url}",
            "body": {"model": MODEL} | body,
        }
        lines.append(json.dumps(line).encode() + b"\n")
    return b"".join(lines)


@pytest.mark.timeout(120 + ANSWERS)
async def test_odd_answers_cost_their_own_requests_and_nothing_else(folder: Path) -> None:
    with tally("odd answers", SEED, Books(ended=0)) as books:
        turn = 0
        while books.blows < ANSWERS:
            engine = ("ollama", "llamacpp")[turn % 2]
            await strike(folder / str(turn), engine, turn, books)
            shutil.rmtree(folder / str(turn))
            turn += 1


async def strike(folder: Path, engine: str, turn: int, books: Books) -> None:
    odd = OddReplies(SEED * 1_000 + turn)
    folder.mkdir()

    async def say(asked: Asked) -> AsyncIterator[bytes]:
        yield odd.ollama(asked) if engine == "ollama" else odd.llamacpp(asked)

    said: list[str] = []
    logger.remove()
    sink = logger.add(lambda message: said.append(str(message)), level="DEBUG")
    try:
        async with OddServer(say) as server:
            await work(folder, engine, turn, books, server.address)
    finally:
        logger.remove(sink)
        books.blows += odd.given
    assert SECRET.search("".join(said)) is None


async def work(folder: Path, engine: str, turn: int, books: Books, address: str) -> None:
    """One batch, from the inbox to the outbox."""
    premises = OddPremises(folder, engine, address)
    premises.set_rules(slots=SLOTS, attempts_max=2, request_timeout_s=20.0)
    premises.build()
    raw = batch_file(turn // 2 % 3, turn * LINES)
    batch_id = premises.drop(raw, pilot=0)
    result: Path | None = None
    ends: list[object] = []
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        house = group.create_task(premises.house.run(lambda: False))
        house.add_done_callback(lambda _: ends.append(premises.house))
        while result is None:
            await asyncio.sleep(0.01)
            if ends:
                assert books.ended is not None
                books.ended += 1
                pytest.fail(f"the daemon ended by itself: {house}")
            if batch_id in premises.house.roster.paused:  # failures by chance alike: a person resumes it
                premises.control(batch_id, "resume")
            found = premises.spool.result_path(batch_id)
            result = None if found is None else Path(found)
        premises.house.stop()
    lost, doubled = outcomes_of(result, raw)
    books.requests += LINES
    books.lost += len(lost)
    books.doubled += len(doubled)
    assert not lost
    assert not doubled
    assert problems_of(premises.root) == []
    for name in ("metrics.json", "report.html", "batch.json"):
        assert SECRET.search((result / name).read_text(encoding="utf-8")) is None, name
    assert (result / "output.jsonl").exists()
