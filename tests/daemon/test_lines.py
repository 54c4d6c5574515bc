"""The lines of a batch, read again."""

import pytest

from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.daemon.lines import Lines
from batchd.errors import SpoolError
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_journal import MemoryJournal


async def test_a_fetched_line_is_the_request_that_stands_there_and_its_intent_is_known() -> None:
    journal = MemoryJournal()
    lines = Lines(made_batch([chat("a"), chat("b")], journal), Rules(slots=1))
    item = await lines.fetch(1)
    request = lines.read(item.row)
    assert isinstance(request, Request)
    assert (item.index, request.custom_id) == (1, "b")
    assert journal.forget_intents() == 1
    assert await lines.rows([1]) == [item.row]


async def test_a_line_that_is_not_what_intake_read_stops_the_daemon() -> None:
    batch = made_batch([chat("a")])
    lines = Lines(batch, Rules(slots=1))
    [row] = await lines.rows([0])
    batch.input.write(b"?")
    with pytest.raises(SpoolError, match="Line 1 of"):
        lines.read(row)
