"""A dispatcher on a bench: one batch, a scripted model, and everything else in memory.

DIAGNOSTICS
    None.
"""

from collections.abc import Callable, Sequence
from typing import Any

from batchd.core.json import loads
from batchd.core.record import Outcome
from batchd.core.rules import Rules
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.ports import Batch
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import ID, Line, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import Script, ScriptedModel


class Bench:
    """`work` runs the batch; a second bench over the same batch is a restart."""

    def __init__(
        self,
        lines: Sequence[Line | None],
        script: Script | None = None,
        slots: int = 2,
        batch: Batch | None = None,
        rules: Rules | None = None,
        journal: MemoryJournal | None = None,
        may_send: Callable[[], bool] = lambda: True,
        models: Sequence[ScriptedModel] = (),
    ) -> None:
        self.models = models or [ScriptedModel(script)]
        self.model = self.models[0]
        rules = rules or Rules(slots=slots)
        self.batch = batch or made_batch(lines, journal, window_tokens_max=rules.window_tokens_max)
        self.spool = MemorySpool()
        self.clock = FakeClock()
        self.durable: list[Outcome] = []
        self.dispatcher = Dispatcher(
            self.batch,
            self.models,
            self.clock,
            self.spool,
            rules,
            self.durable.append,
            may_send,
        )

    async def work(self) -> bool:
        return await self.dispatcher.work()

    def outcomes(self) -> dict[str, str]:
        """custom_id to what its line says: the answer's text, or the error's code."""
        lines = [parsed(line) for _, _, line in self.batch.journal.results()]
        return {line["custom_id"]: said(line) for line in lines}

    def messages(self) -> dict[str, str]:
        """custom_id to the error's message."""
        lines = [parsed(line) for _, is_error, line in self.batch.journal.results() if is_error]
        return {line["custom_id"]: error_of(line)["message"] for line in lines}

    def partial_ids(self) -> list[str]:
        """The custom_ids in partial/, in their order."""
        return [parsed(line)["custom_id"] for line in self.spool.partial.get(ID, b"").splitlines()]


def parsed(line: bytes) -> dict[str, Any]:
    value = loads(line)
    assert isinstance(value, dict)
    return value


def said(line: dict[str, Any]) -> str:
    """The text of an answer, or the code of an error."""
    response = line["response"]
    if response is None or response["status_code"] != 200:
        return str(error_of(line)["code"])
    body = response["body"]
    return str(body["choices"][0]["message"]["content"]) if "choices" in body else "vector"


def error_of(line: dict[str, Any]) -> dict[str, Any]:
    found = line["error"] if line["response"] is None else line["response"]["body"]["error"]
    assert isinstance(found, dict)
    return found
