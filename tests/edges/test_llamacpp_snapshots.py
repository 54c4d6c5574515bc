"""Snapshots: who saves, who restores, who waits, and what is dropped."""

import asyncio
import threading
from pathlib import Path

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Source, Usage
from batchd.core.request import Prefix
from batchd.edges.llamacpp.snapshots import Snapshots

ONE, TWO = Prefix("batch_1.0", 1_000), Prefix("batch_1.1", 1_000)
REFUSED = ModelFault(Category.SERVER, "no", is_temporary=True)


class Disk:
    """A server that writes `size` bytes for a slot."""

    def __init__(self, place: Path, bytes_max: int = 1_000, size: int = 100) -> None:
        self.place, self.size = place, size
        self.moves: list[tuple[int, str]] = []
        self.faults: dict[str, ModelFault] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.snapshots = Snapshots(place, bytes_max, self.move)

    @classmethod
    async def begun(cls, place: Path, bytes_max: int = 1_000) -> "Disk":
        disk = cls(place, bytes_max)
        await disk.snapshots.begin("sha256:abc", 4_096)
        return disk

    async def answer(self, slot: int, prefix: Prefix | None) -> bool:
        """A request from its preparation to its answer."""
        is_restored = await self.snapshots.prepare(slot, prefix)
        await self.snapshots.answered(slot, prefix, usage(990 if is_restored else 0), is_restored)
        return is_restored

    async def move(self, slot: int, action: str, name: str, timeout_s: float) -> ModelFault | None:
        self.moves.append((slot, action))
        await self.gate.wait()
        if action == "save" and "save" not in self.faults:
            (self.place / name).write_bytes(bytes(self.size))
        if action == "restore":
            assert (self.place / name).exists()
        return self.faults.get(action)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.place.iterdir())


def usage(cached: int) -> Usage:
    return Usage(1_100, 5, cached, Source.ENGINE, 1.0, 1.0)


async def test_a_group_in_one_slot_is_never_written(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    assert [await disk.answer(0, prefix) for prefix in (ONE, ONE, TWO, TWO)] == [False] * 4
    assert (disk.moves, disk.names()) == ([], [])


async def test_a_second_slot_has_the_first_write_it_and_reads_it(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    assert await disk.answer(1, ONE)
    assert not await disk.answer(1, ONE)
    assert await disk.answer(2, ONE)
    assert disk.moves == [(0, "save"), (1, "restore"), (2, "restore")]
    assert disk.names() == ["batch_1.0.sha256:abc.4096.bin"]


async def test_others_wait_for_the_one_that_is_written(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    disk.gate.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = [group.create_task(disk.answer(slot, ONE)) for slot in (1, 2, 3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert disk.moves == [(0, "save")]
        disk.gate.set()
    assert [task.result() for task in waiting] == [True] * 3
    assert sorted(disk.moves) == [(0, "save"), (1, "restore"), (2, "restore"), (3, "restore")]


async def test_after_a_restart_of_the_model_the_file_is_there(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    await disk.answer(1, ONE)
    (tmp_path / "torn.part").write_bytes(b"x")
    await disk.snapshots.begin("sha256:abc", 4_096)
    disk.moves.clear()
    assert await disk.answer(0, ONE)
    assert disk.moves == [(0, "restore")]
    assert "torn.part" not in disk.names()


@pytest.mark.parametrize(("digest", "window"), [("sha256:other", 4_096), ("sha256:abc", 8_192)])
async def test_another_model_or_window_reads_none_of_it(tmp_path: Path, digest: str, window: int) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    await disk.answer(1, ONE)
    await disk.snapshots.begin(digest, window)
    assert not await disk.answer(0, ONE)


async def test_a_file_that_brought_nothing_is_dropped_and_not_made_again(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    assert await disk.answer(1, ONE)
    await disk.snapshots.answered(1, ONE, usage(990), True)
    assert await disk.answer(2, ONE)
    await disk.snapshots.answered(2, ONE, usage(3), True)
    assert disk.names() == []
    assert not await disk.answer(3, ONE)
    assert disk.moves[-1] == (2, "restore")


@pytest.mark.parametrize("action", ["save", "restore"])
async def test_what_the_server_refuses_is_not_asked_again(tmp_path: Path, action: str) -> None:
    disk = await Disk.begun(tmp_path)
    disk.faults[action] = REFUSED
    await disk.answer(0, ONE)
    assert [await disk.answer(slot, ONE) for slot in (1, 2, 3)] == [False] * 3
    assert [move[1] for move in disk.moves].count(action) == 1
    assert disk.names() == []


async def test_files_are_listed_renamed_and_deleted_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: dict[str, set[bool]] = {}

    def watched(name: str) -> None:
        touch = getattr(Path, name)

        def watching(self: Path, *arguments: object, **more: object) -> object:
            is_loop = threading.current_thread() is threading.main_thread()
            touched.setdefault(name, set()).add(is_loop)
            return touch(self, *arguments, **more)

        monkeypatch.setattr(Path, name, watching)

    for name in ("glob", "unlink", "replace", "mkdir"):
        watched(name)
    disk = await Disk.begun(tmp_path, bytes_max=150)
    for prefix in (ONE, TWO):
        await disk.answer(0, prefix)
        assert await disk.answer(1, prefix)
    await disk.snapshots.answered(1, TWO, usage(3), True)
    await disk.snapshots.forget("batch_1")
    assert touched == {name: {False} for name in ("glob", "unlink", "replace", "mkdir")}


async def test_older_files_give_way_and_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path, bytes_max=250)
    for number in range(3):
        prefix = Prefix(f"batch_1.{number}", 1_000)
        await disk.answer(0, prefix)
        assert await disk.answer(1, prefix)
    assert [name[:9] for name in disk.names()] == ["batch_1.1", "batch_1.2"]
    disk.size = 300
    large = Prefix("batch_1.9", 1_000)
    await disk.answer(0, large)
    assert not await disk.answer(1, large)
    assert repr(disk.snapshots).endswith("0 files>")


async def test_a_slot_whose_request_failed_gives_nothing(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    disk.snapshots.lost(0)
    assert not await disk.answer(1, ONE)
    assert disk.moves == []


async def test_the_files_of_a_batch_go_with_it(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    for prefix in (ONE, Prefix("batch_12.0", 1_000)):
        await disk.answer(0, prefix)
        await disk.answer(1, prefix)
    await disk.snapshots.forget("batch_1")
    assert [name[:10] for name in disk.names()] == ["batch_12.0"]


async def test_nor_does_a_slot_that_has_answered_something_else(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    await disk.answer(0, ONE)
    assert not await disk.answer(0, None)
    assert not await disk.answer(1, ONE)
    assert disk.moves == []


async def test_a_slot_is_not_saved_before_it_has_answered(tmp_path: Path) -> None:
    """All four begin at once: what the first holds until its answer is of somebody else."""
    disk = await Disk.begun(tmp_path)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        assert not await disk.snapshots.prepare(0, ONE)
        waiting = [group.create_task(disk.answer(slot, ONE)) for slot in (1, 2, 3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert disk.moves == []
        await disk.snapshots.answered(0, ONE, usage(0), False)
    assert [task.result() for task in waiting] == [True] * 3


async def test_nobody_waits_for_a_slot_whose_first_request_failed(tmp_path: Path) -> None:
    disk = await Disk.begun(tmp_path)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        await disk.snapshots.prepare(0, ONE)
        waiting = group.create_task(disk.answer(1, ONE))
        for _ in range(5):
            await asyncio.sleep(0)
        disk.snapshots.lost(0)
    assert (waiting.result(), disk.moves) == (False, [])
