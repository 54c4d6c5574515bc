"""Blocking work in a thread is never left alone there."""

import asyncio
import threading

import pytest

from batchd.app.blocking import to_its_end


async def test_the_value_and_the_error_come_back() -> None:
    assert await to_its_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_thread(fails: bool) -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert may_end.wait(20)
        ended.set()
        if fails:
            raise ValueError

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(to_its_end(work))
        await asyncio.to_thread(began.wait, 20)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        may_end.set()
    assert task.cancelled()
    assert ended.is_set()
