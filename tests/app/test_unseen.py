"""An exception in a callback, or in a task that nobody awaits, is not only logged."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from batchd.app.unseen import nothing_unseen
from batchd.errors import JournalError


def _fail() -> None:
    raise ZeroDivisionError


async def _fail_later() -> None:
    raise ZeroDivisionError


def _call() -> None:
    asyncio.get_running_loop().call_soon(_fail)


def _finish() -> None:
    asyncio.get_running_loop().create_task(asyncio.sleep(0)).add_done_callback(lambda _: _fail())


def _forget() -> None:
    asyncio.get_running_loop().create_task(_fail_later())


async def _work_under(begin: Callable[[], None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    with nothing_unseen(asyncio.get_running_loop(), task):
        begin()
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()
        await asyncio.Event().wait()


@pytest.mark.parametrize("begin", [_call, _finish, _forget], ids=["callback", "done callback", "task"])
async def test_a_bug_that_nobody_awaits_ends_the_work_and_is_raised(begin: Callable[[], None]) -> None:
    with pytest.raises(ZeroDivisionError):
        await _work_under(begin)
    assert asyncio.get_running_loop().get_exception_handler() is None


async def test_what_a_connection_or_a_full_disk_leaves_behind_is_said_and_the_work_goes_on(
    said: list[str],
) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    with nothing_unseen(loop, task):
        loop.call_exception_handler({"message": "odd bytes", "exception": OSError(), "protocol": object()})
        loop.call_exception_handler({"message": "late", "exception": JournalError("The disk is gone.")})
        loop.call_exception_handler({"message": "a task was destroyed"})
        await asyncio.sleep(0)
    assert [text for text in ("odd bytes", "late", "destroyed") if any(text in line for line in said)] == [
        "odd bytes",
        "late",
        "destroyed",
    ]


async def test_a_cancellation_by_others_stays_one() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_work_under(lambda: None))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
