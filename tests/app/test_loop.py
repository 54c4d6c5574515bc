"""The event loop under load: no callback holds it for long, and none waits for the disk.

What is measured is the time that the loop's own thread computes in one callback, not the time that passes: a
machine that is busy with something else makes no test fail. Waiting for the disk is no computing, so what
opens, lists, renames or deletes is caught by Python's audit events.
"""

import asyncio
import contextlib
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from batchd.core.settle import Kind, Seen
from tests.app.premises import Premises, batch_of
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]

#: The longest that one callback may compute.
LONGEST_S = 0.05

#: What touches a directory or opens a file.
TOUCHES = frozenset(
    {"open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}
    | {"os.truncate", "glob.glob", "shutil.rmtree", "shutil.copyfile"}
)


@dataclass
class Loop:
    """What its thread did."""

    longest_s: float = 0.0
    longest: str = ""
    touched: list[tuple[str, str]] = field(default_factory=list)


_WATCHED: list[tuple[threading.Thread, Loop]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook cannot be taken away again, so there is one for all."""
    if event in TOUCHES and _WATCHED and threading.current_thread() is _WATCHED[-1][0]:
        _WATCHED[-1][1].touched.append((event, str(arguments[0])[:100]))


sys.addaudithook(_heard)


@contextlib.contextmanager
def watched_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """While the block lasts, in which the loop of this thread runs."""
    found, run = Loop(), asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        try:
            run(self)
        finally:
            took = time.thread_time() - began
            if took > found.longest_s:
                found.longest_s, found.longest = took, repr(self)

    # A look at all objects of a whole session of tests is no work of ours.
    gc.collect()
    gc.disable()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        _WATCHED.append((threading.current_thread(), found))
        try:
            yield found
        finally:
            _WATCHED.pop()
            gc.enable()


@pytest.mark.timeout(120)
async def test_the_event_loop_is_held_by_nothing_for_long(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of groups to be dealt to eight slots, a request of megabytes, and a flood in the inbox."""
    world = premises(Script().answers_at_once())
    world.set_rules(slots=8)
    house = world.build()
    lines = [
        chat(f"{group}.{number}", system=f"Rubric {group}. {'Word for word. ' * 40}")
        for group in range(1_500)
        for number in range(2)
    ]
    lines[700] = chat("long", text="word " * 1_500_000)
    batch_id = world.drop(lines)
    flood = [Seen(b"a.jsonl", Kind.UNCLAIMABLE, (0, 0, 0, 0, 0), "it is a link")] * 300_000
    flooded = property(lambda intake: flood, lambda intake, found: None)
    monkeypatch.setattr(type(house._intake), "unclaimable", flooded, raising=False)
    async with world.at_work():
        await world.until(lambda: world.service.told == ["ready"])
        with watched_loop(monkeypatch) as loop:
            await world.until(lambda: (world.root / "archive" / batch_id).exists())
            await world.until(lambda: batch_id not in house.roster.held)
            pings = world.service.pings
            await world.until(lambda: world.service.pings > pings + 1)
        result = await world.result(batch_id)
    assert batch_of(result)["request_counts"]["completed"] == len(lines)
    assert loop.longest_s < LONGEST_S, f"{loop.longest_s * 1_000:.0f} ms in {loop.longest}"
    assert not loop.touched, loop.touched[:10]
