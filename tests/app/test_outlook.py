"""The outlook: disk and memory together decide whether more is sent."""

import asyncio

import pytest

from batchd.app.outlook import Outlook, change_of
from batchd.core.readings import Eased, Happened, Held, Reading, Strained, Warned, Woke
from batchd.core.space import Space
from tests.fakes.fake_clock import FakeClock
from tests.fakes.fake_gauges import FakeGauges, FakeInhibitor

FULL = Reading(memory_total_bytes=1_000, memory_free_bytes=1)


@pytest.mark.parametrize(
    ("free_bytes", "reading", "may_send", "notices"),
    [
        (10**12, Reading(), True, 0),
        (0, Reading(), False, 1),
        (10**12, FULL, False, 1),
        (0, FULL, False, 2),
    ],
)
async def test_it_is_sent_only_while_disk_and_memory_have_room(
    free_bytes: int, reading: Reading, may_send: bool, notices: int
) -> None:
    space = Space(10**12)
    space.measure(free_bytes)
    outlook = Outlook(FakeGauges(reading), FakeInhibitor(), FakeClock(runs=False), space, lambda: None)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(outlook.run())
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
    assert outlook.may_send() is may_send
    assert len(list(filter(None, outlook.notice().split("; ")))) >= notices
    assert bool(outlook.notice()) is bool(notices)


@pytest.mark.parametrize(
    ("happened", "names"),
    [
        (Warned("x"), None),
        (Held("x"), ("dispatch_held", "held", "x")),
        (Eased(""), ("dispatch_held", "sending", "memory is free again")),
        (Strained("x"), ("memory_strained", "", "x")),
        (Woke(60.4), ("machine_woke", "asleep for 60 s", "the clocks of the machine")),
    ],
)
def test_what_changes_the_work_is_a_decision(happened: Happened, names: tuple[str, str, str] | None) -> None:
    change = change_of(happened)
    assert (change and (change.name, change.new, change.cause)) == names


def test_the_supervisor_hears_of_a_strain_and_of_a_sleep() -> None:
    heard: list[str] = []
    outlook = Outlook(
        FakeGauges(Reading()),
        FakeInhibitor(),
        FakeClock(),
        Space(10**12),
        lambda: None,
        heard.append,
        lambda: heard.append("woke"),
    )
    for happened in (Warned("w"), Strained("full"), Woke(9.0), Eased("")):
        outlook.on_happened(happened)
    assert heard == ["full", "woke"]
