"""The lines of a batch, read again."""

import io
import threading
from dataclasses import replace

import pytest

from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.daemon.lines import Lines
from batchd.daemon.stock import READY_LINE_BYTES_MAX
from batchd.errors import SpoolError
from tests.fakes.made_batch import chat, content, made_batch
from tests.fakes.memory_journal import MemoryJournal


async def test_a_fetched_line_is_the_request_that_stands_there_and_its_intent_is_known() -> None:
    journal = MemoryJournal()
    lines = Lines(made_batch([chat("a"), chat("b")], journal), Rules(slots=1))
    item = await lines.fetch(1)
    request = lines.read(item.row)
    assert isinstance(request, Request)
    assert (item.index, request.custom_id) == (1, "b")
    assert journal.forget_intents() == 1
    assert item.ready.request == request
    assert await lines.names([1]) == [(item.row, "b")]


async def test_a_line_that_is_not_what_intake_read_stops_the_daemon() -> None:
    batch = made_batch([chat("a")])
    lines = Lines(batch, Rules(slots=1))
    [(row, _)] = await lines.names([0])
    batch.input.seek(0)
    batch.input.write(b"?")
    with pytest.raises(SpoolError, match="Line 1 of"):
        lines.read(row)


class ThreadedFile(io.BytesIO):
    """Remembers who reads."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.readers: set[threading.Thread] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.readers.add(threading.current_thread())
        return super().read(size)


@pytest.mark.parametrize("length", [10, READY_LINE_BYTES_MAX + 1])
async def test_no_line_is_read_on_the_event_loop_and_a_long_one_is_not_kept_ready(length: int) -> None:
    given = [chat("a", text="x" * length), chat("b")]
    batch = made_batch(given)
    file = ThreadedFile(content(given))
    lines = Lines(replace(batch, input=file), Rules(slots=1))
    item = await lines.fetch(0)
    assert (item.ready.request is None) == (length > READY_LINE_BYTES_MAX)
    request = await lines.read_item(item)
    assert isinstance(request, Request)
    assert request.custom_id == "a"
    assert [name for _, name in await lines.names([0, 1])] == ["a", "b"]
    assert file.readers
    assert threading.main_thread() not in file.readers
