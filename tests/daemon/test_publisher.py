"""The publisher: which files, in which order, and when there is nothing to publish."""

import errno
import hashlib
from dataclasses import replace
from typing import BinaryIO

import pytest

from batchd.core.fault import Category
from batchd.core.json import loads
from batchd.core.lifecycle import Phase, State, state_of
from batchd.core.record import Outcome
from batchd.core.result import BatchFacts
from batchd.core.summary import facts_of
from batchd.daemon.publisher import RETRY_BLOCK_LINES, Publisher
from batchd.daemon.recovery import recover
from batchd.errors import JournalError, NoSpaceError, SpoolError
from tests.fakes.made_batch import ID, Line, acceptance, chat, content, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_spool import MemorySpool

NAME = f"reviews.{ID}"

PAGE = "<!doctype html>"


class World:
    """A batch in processing/ whose outcomes are written by hand."""

    def __init__(self, *lines: Line | None) -> None:
        self.spool = MemorySpool()
        self.spool.drop(b"reviews.jsonl", content(lines))
        assert self.spool.claim(b"reviews.jsonl", ID)
        self.spool.copy_input(ID)
        self.spool.journals.add(ID)
        self.spool.append_partial(ID, b"half\n")
        self.journal = MemoryJournal()
        self.batch = made_batch(lines, self.journal)
        self.publisher = Publisher(self.spool)

    async def record(self, index: int, line: bytes, is_error: bool = False) -> None:
        category = Category.CRASH if is_error else None
        await self.journal.record(Outcome(index, line, is_error, category))

    def facts(self) -> BatchFacts:
        total = self.journal.progress().total
        return facts_of(ID, acceptance(total), self.journal.progress(), "completed", {"completed_at": 2e9})

    def publish(self) -> dict[str, bytes]:
        self.publisher.assemble(self.batch, NAME, self.facts(), {"version": 1}, PAGE)
        self.publisher.finish(self.batch)
        self.publisher.delete(self.batch)
        return self.spool.outbox[NAME]


async def test_results_stand_in_input_order_whatever_the_order_of_the_answers() -> None:
    world = World(chat("a"), chat("b"), chat("c"), chat("d"))
    for index in (2, 0, 3):
        await world.record(index, b'{"n":%d}' % index)
    await world.record(1, b'{"e":1}', is_error=True)
    files = world.publish()
    assert sorted(files) == [
        "batch.json",
        "errors.jsonl",
        "metrics.json",
        "output.jsonl",
        "report.html",
        "retry.jsonl",
    ]
    assert files["output.jsonl"] == b'{"n":0}\n{"n":2}\n{"n":3}\n'
    assert files["errors.jsonl"] == b'{"e":1}\n'


async def test_metrics_prove_every_other_file_and_are_written_last() -> None:
    world = World(chat("a"), chat("b"), None)
    await world.record(0, b'{"n":0}')
    await world.record(1, b'{"e":1}', is_error=True)
    files = world.publish()
    assert list(files)[-1] == "metrics.json"
    metrics = loads(files.pop("metrics.json"))
    assert metrics == {
        "version": 1,
        "files": {
            name: {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "lines": content.count(b"\n"),
            }
            for name, content in files.items()
        },
    }


async def test_retry_holds_the_lines_that_were_understood_and_have_no_answer() -> None:
    world = World(chat("a"), None, chat("c"))
    await world.record(0, b"{}")
    await world.record(2, b"{}", is_error=True)
    files = world.publish()
    assert files["retry.jsonl"] == content([chat("c")])
    assert files["errors.jsonl"].count(b"\n") == 2


async def test_lines_that_were_never_requests_make_no_retry() -> None:
    world = World(None, None)
    files = world.publish()
    assert "retry.jsonl" not in files
    assert "output.jsonl" not in files


async def test_many_failed_lines_are_all_in_retry() -> None:
    lines = [chat(f"r{n}") for n in range(RETRY_BLOCK_LINES + 10)]
    world = World(*lines)
    for index in range(len(lines)):
        await world.record(index, b"{}", is_error=True)
    assert world.publish()["retry.jsonl"] == content(lines)


async def test_a_file_that_would_be_empty_is_not_made_and_its_id_is_null() -> None:
    world = World(chat("a"))
    await world.record(0, b"{}")
    files = world.publish()
    assert sorted(files) == ["batch.json", "metrics.json", "output.jsonl", "report.html"]
    batch = loads(files["batch.json"])
    assert isinstance(batch, dict)
    assert (batch["output_file_id"], batch["error_file_id"]) == ("output.jsonl", None)
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


@pytest.mark.parametrize("missing", [0, 1, 2])
async def test_a_line_without_an_outcome_refuses_to_publish(missing: int) -> None:
    world = World(chat("a"), chat("b"), chat("c"))
    for index in {0, 1, 2} - {missing}:
        await world.record(index, b"{}")
    with pytest.raises(JournalError, match=f"Line index {missing} of"):
        world.publish()
    assert world.spool.outbox == {}
    assert world.journal.phase() is Phase.IN_PROGRESS


async def test_name_and_hash_are_durable_before_the_rename() -> None:
    world = World(chat("a"))
    await world.record(0, b"{}")
    world.publisher.assemble(world.batch, NAME, world.facts(), {}, PAGE)
    assert world.journal.phase() is Phase.PUBLISHING
    assert world.journal.meta()["final_name"] == NAME
    assert len(world.journal.meta()["publish_sha256"]) == 64
    assert world.spool.outbox == {}


async def test_a_sealed_directory_that_changed_is_assembled_again() -> None:
    world = World(chat("a"))
    await world.record(0, b'{"n":0}')
    world.publisher.assemble(world.batch, NAME, world.facts(), {}, PAGE)
    assert world.publisher.is_sealed(world.batch)
    publish = world.spool.processing[ID].publish
    assert publish is not None
    publish["output.jsonl"] = b'{"n":1}\n'
    assert not world.publisher.is_sealed(world.batch)
    world.publisher.unseal(world.batch)
    # A crash here leaves assembly begun, and never what looks published.
    assert state_of(world.spool.places()[ID], world.journal.phase()) is State.S4A
    assert world.publish()["output.jsonl"] == b'{"n":0}\n'


async def test_an_assembly_that_a_crash_cut_begins_anew() -> None:
    world = World(chat("a"))
    await world.record(0, b'{"n":0}')
    world.spool.begin_publish(ID)
    with world.spool.create_result(ID, "output.jsonl") as file:
        file.write(b"torn")
    assert world.publish()["output.jsonl"] == b'{"n":0}\n'


class FullSpool(MemorySpool):
    """Its disk is full, and says so first at one of these: when a file is made, when one is written."""

    is_full = True
    says_so = "made"

    def create_result(self, batch_id: str, name: str) -> BinaryIO:
        file = super().create_result(batch_id, name)
        if self.is_full and name == "batch.json":
            if self.says_so == "made":
                raise NoSpaceError("no space left")
            file.write = refuse  # type: ignore[method-assign]  # what a disk does in the middle of a file
        return file


def refuse(content: object) -> int:
    raise OSError(errno.EDQUOT, "quota exceeded")


@pytest.mark.parametrize("says_so", ["made", "written"])
async def test_on_a_full_disk_what_was_begun_is_deleted_and_it_can_be_assembled_again(says_so: str) -> None:
    world = World(chat("a"))
    await world.record(0, b"{}")
    spool, world.spool.__class__ = world.spool, FullSpool
    assert isinstance(spool, FullSpool)
    spool.says_so = says_so
    for _ in range(2):
        with pytest.raises(NoSpaceError):
            world.publish()
        assert spool.processing[ID].publish is None
        assert world.journal.phase() is Phase.IN_PROGRESS
    spool.is_full = False
    assert sorted(world.publish()) == ["batch.json", "metrics.json", "output.jsonl", "report.html"]


async def test_what_was_promised_is_not_deleted_when_the_disk_is_full() -> None:
    """From the commit on, its absence would be taken for its publication."""

    class Full(MemorySpool):
        def publish(self, batch_id: str, final_name: str) -> str:
            raise NoSpaceError("no space left")

    world = World(chat("a"))
    await world.record(0, b"{}")
    world.spool.__class__ = Full
    with pytest.raises(NoSpaceError):
        world.publish()
    assert world.spool.processing[ID].publish
    world.spool.__class__ = MemorySpool
    world.publisher.finish(world.batch)
    world.publisher.delete(world.batch)
    assert list(world.spool.outbox) == [NAME]


async def test_after_publishing_only_the_original_is_left_and_in_the_archive() -> None:
    world = World(chat("a"))
    await world.record(0, b"{}")
    world.publish()
    assert (world.spool.processing, world.spool.partial, list(world.spool.archived)) == ({}, {}, [ID])
    assert world.batch.input.closed
    with pytest.raises(AssertionError):
        world.journal.forget_intents()


async def test_a_name_that_is_taken_in_the_outbox_is_not_overwritten() -> None:
    world = World(chat("a"))
    await world.record(0, b"{}")
    world.spool.outbox[NAME] = {"mine": b""}
    with pytest.raises(SpoolError):
        world.publish()
    assert world.spool.outbox == {NAME: {"mine": b""}}
    assert ID in world.spool.processing


async def test_a_journal_is_closed_before_its_directory_is_deleted() -> None:
    """LMDB takes another journal that gets the same inode for this one."""
    world = World(chat("a"))
    await world.record(0, b"{}")
    world.publisher.assemble(world.batch, NAME, world.facts(), {"version": 1}, PAGE)
    world.publisher.finish(world.batch)
    assert world.journal._is_closed
    assert ID in world.spool.partial
    world.publisher.delete(world.batch)
    assert ID not in world.spool.partial


@pytest.mark.parametrize("step", ["publish", "archive", "discard"])
async def test_a_finish_that_a_crash_cut_is_ended_by_recovery(step: str) -> None:
    class Dying(MemorySpool):
        """Dies right before a step."""

        def publish(self, batch_id: str, final_name: str) -> str:
            return self._unless("publish") or super().publish(batch_id, final_name)

        def archive(self, batch_id: str) -> None:
            self._unless("archive")
            super().archive(batch_id)

        def discard(self, batch_id: str) -> None:
            self._unless("discard")
            super().discard(batch_id)

        def _unless(self, at: str) -> str:
            if step == at:
                raise KeyboardInterrupt
            return ""

    world = World(chat("a"))
    await world.record(0, b"{}")
    spool, world.spool.__class__ = world.spool, Dying
    with pytest.raises(KeyboardInterrupt):
        world.publish()
    spool.__class__ = MemorySpool
    world.journal._is_closed = False
    recovered = recover(spool, lambda path: _reopened(world.journal))
    if recovered.publish:
        Publisher(spool).finish(replace(world.batch, journal=_reopened(world.journal)))
    assert list(spool.outbox) == [NAME]
    assert (spool.processing, list(spool.archived)) == ({}, [ID])


def _reopened(journal: MemoryJournal) -> MemoryJournal:
    journal._is_closed = False
    return journal
