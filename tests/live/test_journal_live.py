"""A real Ollama, attached: what its log tells of each answer is what it read, to the token.

SUMMARY
    In the place of `journalctl` stands a program that follows the log of the server: the lines are the real
    ones, and they come after the answers, as those of a journal do.

DIAGNOSTICS
    None: tests. Skipped where BATCHD_TEST_OLLAMA names no binary.
"""

import re
from pathlib import Path

import pytest

from batchd.app.drill import keep_busy
from batchd.core.model import Answer, Load, Loaded, Source
from batchd.core.request import Request
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import UnitLog
from tests.contract.test_model_server_contract import RealClock, chat
from tests.live.served import MODEL, Served

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

REQUESTS = 16
READ = re.compile(r"prompt eval time = .*? / +(\d+) tokens")


def journalctl(folder: Path, log: Path) -> Path:
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\nexec tail -n 0 -s 0.25 -f {log}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("groups", [1, 8])
async def test_what_was_read_is_told_to_the_token(
    tmp_path: Path, models: Path, slots: int, groups: int
) -> None:
    with Served(models, OLLAMA_NUM_PARALLEL=str(slots)) as served:
        log = UnitLog("ollama.service", str(journalctl(tmp_path, served.log_path)), wait_s=60.0)
        server = OllamaServer(f"http://{served.host}", "attach", RealClock(), log=log)
        assert isinstance(await server.load(Load(MODEL, 1024, slots), 300), Loaded)
        rubric = "Judge each of these packages by the long rubric of group {}. " * 8
        asked = [
            chat(MODEL, rubric.replace("{}", str(number % groups)), f"Package {number}.", bound=4)
            for number in range(REQUESTS)
        ]
        before = len(READ.findall(served.log_path.read_text()))
        heard: list[Answer] = []

        def hear(request: Request, answer: Answer) -> None:
            heard.append(answer)

        assert await keep_busy(server, asked, slots, hear, 300) is None
        await server.close()
        counted = list(map(int, READ.findall(served.log_path.read_text())[before:]))
    assert {answer.usage.cached_source for answer in heard} == {Source.LOG}
    assert sum(answer.usage.evaluated_tokens or 0 for answer in heard) == sum(counted)
    assert len(counted) == REQUESTS
    assert sum(counted) < sum(answer.usage.prompt_tokens for answer in heard)
