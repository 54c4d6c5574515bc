"""Ending: what is pending gets the same error line, and what has its outcome keeps it."""

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load
from batchd.core.rules import Rules
from batchd.daemon.ending import close
from batchd.daemon.fuse import Fuse
from batchd.daemon.lines import Lines
from batchd.daemon.section import Section
from tests.daemon.bench import parsed
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_spool import MemorySpool

GONE = ModelFault(Category.MODEL, "gone", is_temporary=False, code="model_not_found")


async def test_each_pending_line_ends_with_the_fault_and_its_own_name() -> None:
    batch = made_batch([chat("a"), chat("b"), chat("c")])
    plan = batch.journal.plan()
    section = Section(Load("m", 512, 1), plan.groups, plan.order, bytearray([0, 1, 0]), {})
    fuse = Fuse(batch, MemorySpool(), lambda outcome: None, lambda reason: None)
    await close(section, GONE, Lines(batch, Rules(slots=1)), fuse)
    assert section.is_done()
    lines = {index: parsed(line) for index, is_error, line in batch.journal.results() if is_error}
    assert {line["custom_id"] for line in lines.values()} == {"a", "c"}
    assert {line["response"]["body"]["error"]["code"] for line in lines.values()} == {"model_not_found"}


async def test_a_line_that_is_refused_now_gets_its_own_fault() -> None:
    batch = made_batch([chat("a", text="word " * 300)])
    plan = batch.journal.plan()
    section = Section(Load("m", 512, 1), plan.groups, plan.order, bytearray(1), {})
    fuse = Fuse(batch, MemorySpool(), lambda outcome: None, lambda reason: None)
    await close(section, GONE, Lines(batch, Rules(slots=1, line_bytes_max=1_024)), fuse)
    (line,) = [parsed(line) for _, _, line in batch.journal.results()]
    assert line["response"]["body"]["error"]["code"] == "model_not_found", (
        "a limit lowered since refuses nothing"
    )
