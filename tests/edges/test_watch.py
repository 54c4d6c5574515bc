"""The bell rings, and nothing that happens to the inbox silences it.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchd.daemon.ports import Bell as BellPort
from batchd.edges.watch import Bell

#: A ring comes within a fraction of a second; this only bounds a test that fails.
RING_S = 20.0
#: How long a bell must be silent before we believe that it has rung for everything.
SILENCE_S = 0.5


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "node_modules" / "inbox"  # a path that watchfiles would filter out by itself
    path.mkdir(parents=True)
    return path


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Bell]:
    bell = Bell(directory, pause_s=0.05)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bell.run())
        try:
            yield bell
        finally:
            await bell.close()


async def silent(bell: Bell) -> None:
    async with asyncio.timeout(RING_S):
        while await bell.wait(SILENCE_S):
            pass


async def test_a_new_bell_rings_for_what_came_before_it(inbox: Path) -> None:
    async with running(inbox) as bell:
        assert await bell.wait(RING_S)


async def test_it_rings_for_a_new_file_and_then_is_silent(inbox: Path) -> None:
    async with running(inbox) as bell:
        await silent(bell)
        (inbox / "a.jsonl").touch()
        assert await bell.wait(RING_S)
        await silent(bell)


async def test_it_rings_for_a_rename_from_a_hidden_name(inbox: Path) -> None:
    (inbox / ".a").touch()
    async with running(inbox) as bell:
        await silent(bell)
        (inbox / ".a").rename(inbox / "a.jsonl")
        assert await bell.wait(RING_S)


async def test_a_name_that_is_not_utf8_does_not_silence_it(inbox: Path) -> None:
    async with running(inbox) as bell:
        await silent(bell)
        (inbox / os.fsdecode(b"\xff.jsonl")).touch()
        assert await bell.wait(RING_S)
        await silent(bell)
        (inbox / "good.jsonl").touch()
        assert await bell.wait(RING_S)


async def test_an_inbox_that_is_made_anew_is_watched_again(inbox: Path) -> None:
    async with running(inbox) as bell:
        await silent(bell)
        inbox.rmdir()
        assert await bell.wait(RING_S)
        inbox.mkdir()
        # While it was absent the bell rang at every attempt; now it must fall silent, then ring again.
        await silent(bell)
        (inbox / "a.jsonl").touch()
        assert await bell.wait(RING_S)


async def test_without_an_inbox_it_waits_for_one(tmp_path: Path) -> None:
    async with running(tmp_path / "later") as bell:
        assert await bell.wait(RING_S)
        (tmp_path / "later").mkdir()
        await silent(bell)
        (tmp_path / "later" / "a.jsonl").touch()
        assert await bell.wait(RING_S)


async def test_a_wait_ends_at_its_limit(inbox: Path) -> None:
    bell: BellPort = Bell(inbox)
    assert not await bell.wait(0.01)


async def test_closing_ends_the_watch_and_whoever_waits(inbox: Path) -> None:
    bell = Bell(inbox)
    async with asyncio.timeout(RING_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(bell.run())
        await silent(bell)
        waiting = tasks.create_task(bell.wait(3600.0))
        await asyncio.sleep(0)
        await bell.close()
    assert waiting.result()


async def test_a_cancelled_watch_ends(inbox: Path) -> None:
    bell = Bell(inbox)
    async with asyncio.timeout(RING_S), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(bell.run())
        await silent(bell)
        watching.cancel()
    assert watching.cancelled()


async def test_a_cancellation_that_comes_with_a_ring_is_obeyed(inbox: Path) -> None:
    """Whoever forgets it goes on alone when all else in the house has ended."""
    bell = Bell(inbox)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(bell.wait(RING_S))
        await asyncio.sleep(0)
        bell._rung.set()
        waiting.cancel()
    assert waiting.cancelled()


async def test_a_watcher_that_cannot_even_be_imported_is_built_anew(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[object] = []

    async def broken(self: Bell) -> None:
        tries.append(self)
        raise ModuleNotFoundError("No module named 'anyio._backends'")

    monkeypatch.setattr(Bell, "_watch", broken)
    async with running(inbox) as bell, asyncio.timeout(RING_S):
        while len(tries) < 3:
            assert await bell.wait(RING_S)
