"""Snapshots: the beginning of a group, read once and given to every slot, also after a restart of the model.

SUMMARY
    A slot that is to begin with a prefix that another slot has read does not read it again: the server writes
    that slot's cells into a file and reads them into the new one, in milliseconds. Nothing is written for a
    group that stays in one slot. Slots that want what another is just reading wait for it: reading it beside
    each other would take all of them as long.

    A file is named after the batch, the group, and the model with its window, so that no model reads the
    cells of another; it is written under another name first. Whether a restore was worth it is told by the
    cached tokens of the next answer: a file that brought nothing is dropped, and that group is read as
    before. Files have a common bound of bytes, the oldest give way, and a batch's go with it. They are
    listed, renamed and deleted in threads: some are gigabytes, and the disk may be slow.

DIAGNOSTICS
    Warning: a snapshot that brought nothing, or cannot be written or read: dropped, and the prefix is read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from loguru import logger

from batchd.core.fault import ModelFault
from batchd.core.ideal import is_cold
from batchd.core.model import Usage
from batchd.core.request import Prefix

#: Some tens of megabytes take milliseconds, but the server does it between two batches of tokens (on a busy
#: CPU one takes a minute), and a save waits for the slot's own request, which has a limit of its own.
MOVE_TIMEOUT_S = 300.0

_SUFFIX, _UNDONE = ".bin", ".part"

#: Tells the server to save or restore a slot: (slot, action, file name, limit in seconds).
Move = Callable[[int, str, str, float], Awaitable[ModelFault | None]]


class Snapshots:
    """The files of one server, and what each of its slots holds."""

    def __init__(self, directory: Path, bytes_max: int, move: Move) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._move = move
        self._model = ""
        self._held: dict[int, str] = {}
        self._read: dict[
            int, asyncio.Event
        ] = {}  # of each slot: it has answered a request with what it holds
        self._making: dict[str, asyncio.Event] = {}
        self._dropped: set[str] = set()

    def __repr__(self) -> str:
        return f"<Snapshots in {self._directory}: {len(self._files())} files>"

    async def begin(self, digest: str, window_tokens: int) -> None:
        """A model was loaded: its slots are empty."""
        self._model = f"{digest[-16:]}.{window_tokens}"
        for slot in list(self._held):
            self.lost(slot)
        self._dropped.clear()
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_all(f"*{_UNDONE}")

    def _remove_all(self, pattern: str) -> None:
        for path in self._directory.glob(pattern):
            path.unlink(missing_ok=True)

    async def prepare(self, slot: int, prefix: Prefix | None) -> bool:
        """Before a request is sent to this slot; whether its prefix was restored into it."""
        if prefix is None:
            self.lost(slot)
            return False
        name = f"{prefix.name}.{self._model}{_SUFFIX}"
        before, self._held[slot] = self._held.get(slot), name
        if before == name:
            return False
        self._read[slot] = asyncio.Event()
        if name in self._dropped:
            return False
        if not (self._directory / name).exists():
            await self._save(slot, name)
        if not (self._directory / name).exists():
            return False
        fault = await self._move(slot, "restore", name, MOVE_TIMEOUT_S)
        if fault is not None:
            await self._drop(name, fault.told)
        return fault is None

    async def answered(self, slot: int, prefix: Prefix | None, usage: Usage, is_restored: bool) -> None:
        """The slot has answered; `is_restored`: this request was the first behind a restore."""
        if slot in self._read:
            self._read[slot].set()
        if is_restored and prefix is not None and is_cold(usage.cached_tokens or 0, prefix.tokens):
            found = f"{usage.cached_tokens} of some {prefix.tokens} tokens were there"
            await self._drop(self._held.get(slot, ""), found)

    def lost(self, slot: int) -> None:
        """A request in this slot failed, or is of no group: the slot has nothing to give."""
        self._held.pop(slot, None)
        if slot in self._read:
            self._read.pop(slot).set()

    async def forget(self, batch_id: str) -> None:
        """The batch is done."""
        await asyncio.to_thread(self._remove_all, f"{batch_id}.*")

    async def _save(self, slot: int, name: str) -> None:
        """Have a slot that holds it write it down; wait for whoever does so already."""
        making = self._making.get(name)
        if making is not None:
            await _wait(making)
            return
        donor = next((other for other, held in self._held.items() if held == name and other != slot), None)
        if donor is None:
            return
        making = self._making[name] = asyncio.Event()
        undone = name.removesuffix(_SUFFIX) + _UNDONE
        try:
            # Before its answer it holds what was there before: an idle slot is saved at once.
            await _wait(self._read[donor])
            if self._held.get(donor) != name:
                return
            fault = await self._move(donor, "save", undone, MOVE_TIMEOUT_S)
            if fault is not None:
                await self._drop(name, fault.told)
            elif not await asyncio.to_thread(self._kept, undone, name):
                self._dropped.add(name)
        except OSError as error:
            await self._drop(name, f"{error.strerror}")
        finally:
            making.set()
            del self._making[name]

    def _kept(self, undone: str, name: str) -> bool:
        """Under its name from now on, if there is room for it; whether it is."""
        new = self._directory / undone
        try:
            if not self._has_room(new):
                return False
            new.replace(self._directory / name)
            return True
        finally:
            new.unlink(missing_ok=True)

    def _has_room(self, new: Path) -> bool:
        """Whether it fits, with older ones gone if need be."""
        needed = new.stat().st_size
        files = self._files()
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used + needed <= self._bytes_max:
                break
            path.unlink(missing_ok=True)
            used -= size
        return used + needed <= self._bytes_max

    def _remove(self, *names: str) -> None:
        with suppress(OSError):
            for name in names:
                (self._directory / name).unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, int, Path]]:
        """Age, size and path of each, the oldest first."""
        found = []
        for path in self._directory.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        return sorted(found)

    async def _drop(self, name: str, why: str) -> None:
        self._dropped.add(name)
        await asyncio.to_thread(self._remove, name, name.removesuffix(_SUFFIX) + _UNDONE)
        logger.bind(event="snapshot_dropped").warning("the prefix snapshot {} is not used: {}", name, why)


async def _wait(event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(MOVE_TIMEOUT_S):
            await event.wait()
