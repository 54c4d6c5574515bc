"""What the service of an attached Ollama logs is read along, and nobody waits for it in a slot."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchd.core.model import Answer, Load, Loaded, Source, Usage
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import UnitLog
from batchd.edges.ollama_server.timings import MISSES_MAX
from tests.blows import descendants, named
from tests.contract.test_model_server_contract import RealClock, chat
from tests.simulator import Simulator

#: A `journalctl` that says how it was called, and follows a file.
FOLLOWS = """\
#!{python}
import sys, time
open({called!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
log = open({log!r})
while True:
    line = log.readline()
    if line:
        print(line, end="", flush=True)
    else:
        time.sleep(0.005)
"""

TASK = (
    "slot print_timing: id  0 | task 7 | prompt eval time =      68.50 ms /     8 tokens\n"
    "slot print_timing: id  0 | task 7 |        eval time =     243.81 ms /     8 tokens\n"
)


class Journal:
    """A journal that a test writes."""

    def __init__(self, folder: Path) -> None:
        self._log, self._called = folder / "log", folder / "called"
        self._log.touch()
        self.program = folder / "journalctl"
        text = FOLLOWS.format(python=sys.executable, called=str(self._called), log=str(self._log))
        self.program.write_text(text)
        self.program.chmod(0o755)

    def write(self, text: str) -> None:
        with self._log.open("a") as file:
            file.write(text)

    @property
    def calls(self) -> list[str]:
        return self._called.read_text().splitlines() if self._called.exists() else []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
async def log(journal: Journal) -> AsyncIterator[UnitLog]:
    log = UnitLog("ollama.service", str(journal.program), wait_s=20.0)
    log.follow()
    yield log
    await log.stop()


async def test_an_answer_is_found_in_the_journal_though_it_comes_late(log: UnitLog, journal: Journal) -> None:
    asked = log.evaluated_tokens(0.068495, 0.243807)
    assert not asked.done()
    journal.write("[GIN] POST /api/chat\n" + "x" * 100_000 + "\n" + TASK)
    assert await asked == 8
    log.follow()
    [call] = journal.calls
    assert {"--follow", "--lines=0", "--output=cat", "--unit=ollama.service"} <= set(call.split())


async def test_the_end_leaves_no_process_and_nobody_waiting(log: UnitLog, journal: Journal) -> None:
    first = log.evaluated_tokens(0.068495, 0.243807)
    journal.write(TASK)
    assert await first == 8
    asked = log.evaluated_tokens(1.0, 1.0)
    await log.stop()
    assert await asked is None
    assert not named(descendants(os.getpid()), "journalctl")
    log.follow()
    assert len(journal.calls) == 1


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nhead -c 1000000 /dev/zero\n", None])
async def test_a_journal_that_says_nothing_leaves_it_unknown_and_is_soon_not_asked(
    tmp_path: Path, text: str | None
) -> None:
    program = tmp_path / "journalctl"
    if text is not None:
        program.write_text(text)
        program.chmod(0o755)
    log = UnitLog("ollama.service", str(program), wait_s=0.01)
    log.follow()
    for _ in range(MISSES_MAX):
        assert await log.evaluated_tokens(1.0, 1.0) is None
    assert log.evaluated_tokens(1.0, 1.0).done()
    await log.stop()


async def test_an_attached_server_answers_before_its_journal_tells(journal: Journal) -> None:
    """The slot is free at once; the count follows."""
    log = UnitLog("ollama.service", str(journal.program), wait_s=20.0)
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock(), log=log)
        assert isinstance(await server.load(Load("smollm2:135m", 2048, 1), 10), Loaded)
        answer = await server.answer(chat("smollm2:135m", "hi", bound=4), 0, 10)
        assert isinstance(answer, Answer)
        assert (answer.usage.cached_source, answer.late is None) == (Source.UNKNOWN, False)
        told: asyncio.Future[Usage] = asyncio.get_running_loop().create_future()
        assert answer.late is not None
        answer.late(told.set_result)
        prefill_ms, decode_ms = (answer.usage.prefill_s or 0) * 1e3, (answer.usage.decode_s or 0) * 1e3
        journal.write(TASK.replace("     68.50", f"{prefill_ms:.2f}").replace("243.81", f"{decode_ms:.2f}"))
        usage = await told
        assert (usage.cached_source, usage.evaluated_tokens) == (Source.LOG, 8)
        began = time.perf_counter()
        await server.close()
        assert time.perf_counter() - began < 60
